"""What `make bench` runs: a dozen figures, each against its reference in the same run.

`python -m tests.bench` prints one table; `--only NAME ...` picks benchmarks, `--check` fails if a target
is missed, `--smoke` runs each with tiny numbers, `--json FILE` names the file for the figures (the table
stands beside it), `--against COMMIT` compares with another commit. `--only week` takes an hour (`--minutes`),
and runs only if it is named. What the figures mean, and where the time goes, is told in
`docs/performance.md`.

A figure and its reference are measured in turns, and medians are compared. Load comes from processes of their
own, on another core than the server's. What other programs take of the CPU meanwhile is measured, too:
see `tests.bench.noise`.

Decisions: docs/decisions/testing.md
"""
