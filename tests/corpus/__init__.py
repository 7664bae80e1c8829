"""The rule: for every source Clipwire's result is at least as good as that of the `yt-dlp` command line.

`sources` names more than two hundred sources, all on the local site. `running` lets both programs fetch each
source with the same request, and `verdict` compares the results: the content of the decoded files (`films`),
or the messages. `make bench ARGS="--only corpus"` prints the table; a test checks the rule.

The request is `bv*+ba/b`, the first entry of a list and `--compat-options no-certifi` there, and `video` and
`audio`, `any` and `best` here.

Decisions: docs/decisions/testing.md
"""
