# Each target brings the checkout to where it can run by itself; the second time that costs nothing.

PYTHON = .venv/bin/python
INSTALL = @sh requirements/install.sh
# Came with yt-dlp, which runs sites' scripts in it; it knows the page's language as well.
DENO = DENO_DIR=.venv/deno .venv/bin/deno

help:
	@echo 'make run        start the service on http://127.0.0.1:8080 (Ctrl-C stops it)'
	@echo 'make run-cluster  start four nodes with a database and a bucket of their own, for a look (Ctrl-C ends them)'
	@echo 'make test       run the tests, or some: make test ARGS="-k name"'
	@echo 'make test-long  run those that take minutes: kills at random, long loads'
	@echo 'make check      look for mistakes in style and types, in Python and JavaScript'
	@echo 'make format     lay out both as make check wants them'
	@echo 'make bench      measure; make bench ARGS=--check compares with the targets'
	@echo 'make pictures   make pictures of the page in all its states, in pictures/'
	@echo 'make design     draw docs/design anew, from the real stylesheets, and the icons of static/'
	@echo 'make install    set up what the service needs, and do not start it'
	@echo 'make lock       write requirements/*.txt anew from pyproject.toml'

# exec: signals reach the server and no shell in between.
run: install
	@exec $(PYTHON) -m server $(ARGS)

# PostgreSQL and an S3 server come with the packages of the tests.
run-cluster: packages
	@exec $(PYTHON) -m tests.cluster

install:
	$(INSTALL) run

# For the workers and the servers that tests start, which do not inherit -X dev: the allocator of the development
# mode looks after extensions in C and costs a tenth of the time; bytecode is kept whatever the machine prefers, or
# each of them compiles everything anew.
MODE = PYTHONDEVMODE=1 PYTHONMALLOC=default PYTHONDONTWRITEBYTECODE=
PYTEST = $(MODE) $(PYTHON) -m pytest --dist worksteal

test: tools
	$(PYTEST) --numprocesses 6 -m "not long" $(ARGS)

# Fewer at a time: these look at how a service bears what is done to it, not at a busy machine.
test-long: tools
	$(PYTEST) --numprocesses 4 -o faulthandler_timeout=480 -m long $(ARGS)

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

# What a designer looks at: every state of the page, and every part of it on one page.
pictures: tools
	$(PYTHON) -m tests.pictures $(ARGS)

design: tools
	$(PYTHON) -m tests.pictures.icons
	$(PYTHON) -m tests.pictures.design

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

.PHONY: help run run-cluster install test test-long check format bench pictures design packages tools lock
