"""The rule: for every source Clipwire's result is at least as good as that of the `yt-dlp` command line.

`sources` names more than two hundred sources, all on the local site. `running` lets both programs fetch each
source with the same request, and `verdict` compares the results: the content of the decoded files (`films`),
or the messages. `make bench ARGS="--only corpus"` prints the table; a test checks the rule.

yt-dlp is run with `bv*+ba/b`, the first entry of a list and `--compat-options no-certifi`; Clipwire is asked
for `video` and `audio` in the formats `any` and `best`.

Decisions: docs/decisions/testing.md
"""
