"""What `make bench` runs: every figure that was promised, each against its reference in the same run.

`python -m tests.bench` prints one table; `--only NAME ...` picks benchmarks, `--check` fails if a target
is missed or a figure is a tenth worse than documented, `--smoke` runs each with tiny numbers, `--json FILE`
names the file for the figures, `--against COMMIT` compares two commits. What the figures mean, and where the
time goes, is told in `docs/performance.md`.

The machine is assumed to be noisy: a figure and its reference are measured in turns, and medians are
compared. Load comes from processes of their own, on another core than the server's.
"""
