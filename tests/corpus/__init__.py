"""The rule: for every source Clipwire ends at least as well as the `yt-dlp` command line.

`sources` names more than two hundred of them, all of the local site; `running` has each fetched by both
programs with the same wishes, `verdict` compares what came of it: what is in the files once they are decoded
(`films`), or else what was said. `make bench ARGS="--only corpus"` prints the table; a test holds the rule.

The wishes are `bv*+ba/b`, the first entry of a list and `--compat-options no-certifi` there, and `video` and
`audio`, `any` and `best` here.

Decisions: docs/decisions/testing.md
"""
