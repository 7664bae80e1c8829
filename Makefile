# Each target first installs its dependencies; if they are installed already, that step does nothing.

PYTHON = .venv/bin/python
INSTALL = @sh requirements/install.sh
# deno is a dependency of yt-dlp, which runs scripts of sites in it; here it checks the page's JavaScript.
DENO = DENO_DIR=.venv/deno .venv/bin/deno

help:
	@echo 'make run        start the service on http://127.0.0.1:8080 (Ctrl-C stops it)'
	@echo 'make run-cluster  start a cluster of four nodes with its own database and bucket, for a trial (Ctrl-C stops it)'
	@echo 'make test       run the tests, or some of them: make test ARGS="-k name"'
	@echo 'make test-wide  run the expensive tests that make test leaves out'
	@echo 'make test-long  run the tests that take minutes: random kills, long loads'
	@echo 'make check      check style, types and formatting of Python and JavaScript'
	@echo 'make format     format Python and JavaScript as make check expects'
	@echo 'make bench      run the benchmarks; make bench ARGS=--check fails unless all targets are met'
	@echo 'make pictures   make screenshots of the page in all its states, in pictures/'
	@echo 'make design     generate docs/design from the real stylesheets, and the icons of static/'
	@echo 'make install    install the dependencies of the service, and do not start it'
	@echo 'make lock       update requirements/*.txt from pyproject.toml; make lock-tools: the lock of requirements/tools'

# exec replaces the shell, so that signals reach the server.
run: install
	@exec $(PYTHON) -m server $(ARGS)

# The test packages include PostgreSQL and an S3 server.
run-cluster: packages
	@exec $(PYTHON) -m tests.cluster

install:
	$(INSTALL) run

# Environment variables, because pytest's workers and the servers that tests start do not inherit `-X` and `-W`.
# Bytecode is written even if the machine disables that; otherwise each process compiles everything again.
MODE = PYTHONWARNINGS=default PYTHONFAULTHANDLER=1 PYTHONDONTWRITEBYTECODE=
# Enables asyncio's checks, which cost a twentieth of the time, but not the debug allocator, which checks C extensions
# and costs a tenth.
THOROUGH = PYTHONDEVMODE=1 PYTHONMALLOC=default
PYTEST = $(MODE) $(PYTHON) -m pytest --dist worksteal

# Three workers a core, since tests spend a third of their time waiting; at most 24.
WORKERS = $(shell cores=$$(nproc); echo $$((cores < 8 ? 3 * cores : 24)))
# With ARGS, wide tests run as well: somebody who selects tests wants all of them.
test: tools
	$(PYTEST) --numprocesses $(WORKERS) -m "not long$(if $(ARGS),, and not wide)" $(ARGS)

test-wide: tools
	$(PYTEST) --numprocesses $(WORKERS) -m "wide and not long" $(ARGS)

# Only five workers: these tests examine how the service survives faults, and a busy machine would disturb them.
# `WHICH` selects some of them: `long and not minutes` takes ten minutes.
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

# For designers: screenshots of every state of the page (pictures), and all parts of the page on one sheet (design).
pictures: tools
	$(PYTHON) -m tests.pictures $(ARGS)

design: tools
	$(PYTHON) -m tests.pictures.icons
	$(PYTHON) -m tests.pictures.design

packages:
	$(INSTALL) test

tools: packages
	$(INSTALL) tools

# The locks apply to every supported platform and Python version, and contain no address of a package index. Locked
# versions stay unless pyproject.toml requires others; `make lock ARGS=--upgrade` takes the newest versions.
LOCK = uv pip compile --quiet --universal --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-header pyproject.toml

lock:
	@command -v uv >/dev/null || { echo 'make lock needs uv: pipx install uv' >&2; exit 1; }
	$(LOCK) --extra notify --output-file requirements/run.txt $(ARGS)
	$(LOCK) --extra notify --extra test --constraint requirements/run.txt --output-file requirements/test.txt $(ARGS)

# The lock of the npm packages that tests use: exact versions in package.json, hashes in the lock, and no addresses.
lock-tools:
	npm install --prefix requirements/tools --package-lock-only --ignore-scripts --silent
	python3 -c 'import json, pathlib; path = pathlib.Path("requirements/tools/package-lock.json"); \
	lock = json.loads(path.read_text()); \
	[package.pop(key, None) for package in lock["packages"].values() for key in ("resolved", "funding")]; \
	path.write_text(json.dumps(lock, indent=1) + "\n")'

.PHONY: help run run-cluster install test test-wide test-long check format bench pictures design packages tools lock lock-tools
