# Each target first installs what it needs; if everything is installed already, that step does nothing.

PYTHON = .venv/bin/python
INSTALL = @sh requirements/install.sh
# deno is installed with yt-dlp, which runs sites' scripts in it; here it checks the page's JavaScript.
DENO = DENO_DIR=.venv/deno .venv/bin/deno

help:
	@echo 'make run        start the service on http://127.0.0.1:8080 (Ctrl-C stops it)'
	@echo 'make run-cluster  start four nodes with a database and a bucket of their own, for a look (Ctrl-C ends them)'
	@echo 'make test       run the tests, or some: make test ARGS="-k name"'
	@echo 'make test-wide  run the dear ones that make test leaves out: more programs, scenes and kills'
	@echo 'make test-long  run those that take minutes: kills at random, long loads'
	@echo 'make check      look for mistakes in style and types, in Python and JavaScript'
	@echo 'make format     lay out both as make check wants them'
	@echo 'make bench      measure; make bench ARGS=--check fails unless all targets are met'
	@echo 'make pictures   make pictures of the page in all its states, in pictures/'
	@echo 'make design     draw docs/design anew, from the real stylesheets, and the icons of static/'
	@echo 'make install    set up what the service needs, and do not start it'
	@echo 'make lock       write requirements/*.txt anew from pyproject.toml; make lock-tools: the lock of requirements/tools'

# exec replaces the shell, so that signals reach the server.
run: install
	@exec $(PYTHON) -m server $(ARGS)

# The test packages bring PostgreSQL and an S3 server.
run-cluster: packages
	@exec $(PYTHON) -m tests.cluster

install:
	$(INSTALL) run

# Environment variables, because pytest's workers and the servers that tests start do not inherit `-X` and `-W`.
# Bytecode is written even if the machine disables that; otherwise each process compiles everything again.
MODE = PYTHONWARNINGS=default PYTHONFAULTHANDLER=1 PYTHONDONTWRITEBYTECODE=
# With asyncio's checks, which cost a twentieth of the time. Without the debug allocator, which checks C extensions
# and costs a tenth.
THOROUGH = PYTHONDEVMODE=1 PYTHONMALLOC=default
PYTEST = $(MODE) $(PYTHON) -m pytest --dist worksteal

# Three workers a core, since tests wait for a third of their time; at most 24.
WORKERS = $(shell cores=$$(nproc); echo $$((cores < 8 ? 3 * cores : 24)))
# Who names tests means the wide ones as well.
test: tools
	$(PYTEST) --numprocesses $(WORKERS) -m "not long$(if $(ARGS),, and not wide)" $(ARGS)

test-wide: tools
	$(PYTEST) --numprocesses $(WORKERS) -m "wide and not long" $(ARGS)

# Not more workers: these tests examine how the service survives faults, and a busy machine would disturb them.
# `WHICH` narrows them down: `long and not minutes` takes ten minutes.
WHICH = long
test-long: tools
	$(THOROUGH) $(PYTEST) --numprocesses 5 -o faulthandler_timeout=480 -m "$(WHICH)" $(ARGS)

check: packages
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m mypy
	$(DENO) fmt --check --quiet
	$(DENO) lint --quiet
	$(DENO) check --quiet static/js tests/js clients/browser/*.js

format: packages
	$(PYTHON) -m ruff format
	$(PYTHON) -m tests.field_table
	$(DENO) fmt --quiet

bench: tools
	$(PYTHON) -m tests.bench $(ARGS)

# For designers: pictures of every state of the page, and every part of the page on one sheet (design).
pictures: tools
	$(PYTHON) -m tests.pictures $(ARGS)

design: tools
	$(PYTHON) -m tests.pictures.icons
	$(PYTHON) -m tests.pictures.design

packages:
	$(INSTALL) test

tools: packages
	$(INSTALL) tools

# Locks for every supported platform and Python version, without the address of a package index. Locked versions stay
# unless pyproject.toml requires others; `make lock ARGS=--upgrade` takes the newest ones.
LOCK = uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-header pyproject.toml

lock:
	@command -v uv >/dev/null || { echo 'make lock needs uv: pipx install uv' >&2; exit 1; }
	$(LOCK) --extra notify --output-file requirements/run.txt $(ARGS)
	$(LOCK) --extra notify --extra test --constraint requirements/run.txt --output-file requirements/test.txt $(ARGS)

# The same for what tests run from npm: exact versions in package.json, hashes in the lock, and no addresses.
lock-tools:
	npm install --prefix requirements/tools --package-lock-only --ignore-scripts --silent
	python3 -c 'import json, pathlib; path = pathlib.Path("requirements/tools/package-lock.json"); \
	lock = json.loads(path.read_text()); \
	[package.pop(key, None) for package in lock["packages"].values() for key in ("resolved", "funding")]; \
	path.write_text(json.dumps(lock, indent=1) + "\n")'

.PHONY: help run run-cluster install test test-wide test-long check format bench pictures design packages tools lock lock-tools
