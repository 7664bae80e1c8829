# Each target brings the checkout to where it can run by itself; the second time that costs nothing.

PYTHON = .venv/bin/python
INSTALL = @sh requirements/install.sh
# Came with yt-dlp, which runs sites' scripts in it; it knows the page's language as well.
DENO = DENO_DIR=.venv/deno .venv/bin/deno

help:
	@echo 'make run        start the service on http://127.0.0.1:8080 (Ctrl-C stops it)'
	@echo 'make test       run the tests, or some: make test ARGS="-k name"'
	@echo 'make test-long  run those that take minutes: kills at random, long loads'
	@echo 'make check      look for mistakes in style and types, in Python and JavaScript'
	@echo 'make format     lay out both as make check wants them'
	@echo 'make bench      measure; make bench ARGS=--check compares with the targets'
	@echo 'make install    set up what the service needs, and do not start it'
	@echo 'make lock       write requirements/*.txt anew from pyproject.toml'

# exec: signals reach the server and no shell in between.
run: install
	@exec $(PYTHON) -m server $(ARGS)

install:
	$(INSTALL) run

# PYTHONDEVMODE is for the workers and the servers that tests start: they do not inherit -X dev.
PYTEST = PYTHONDEVMODE=1 $(PYTHON) -m pytest --numprocesses 3 --dist loadfile

test: tools
	$(PYTEST) -m "not long" $(ARGS)

test-long: tools
	$(PYTEST) -m long $(ARGS)

check: packages
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m mypy
	$(DENO) fmt --check --quiet
	$(DENO) lint --quiet
	$(DENO) check --quiet static/js tests/js

format: packages
	$(PYTHON) -m ruff format
	$(DENO) fmt --quiet

bench: tools
	$(PYTHON) -m tests.bench $(ARGS)

packages:
	$(INSTALL) test

tools: packages
	$(INSTALL) tools

# For every platform and every Python that we support, and without the address of any index. Versions stay where
# they are unless pyproject.toml asks for others; `make lock ARGS=--upgrade` takes the newest ones.
LOCK = uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-header pyproject.toml

lock:
	@command -v uv >/dev/null || { echo 'make lock needs uv: pipx install uv' >&2; exit 1; }
	$(LOCK) --output-file requirements/run.txt $(ARGS)
	$(LOCK) --extra test --constraint requirements/run.txt --output-file requirements/test.txt $(ARGS)

.PHONY: help run install test test-long check format bench packages tools lock
