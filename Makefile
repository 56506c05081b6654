# Everything a newcomer needs: `make up` and `make test`. `make` alone lists the rest.
.DEFAULT_GOAL := help
.PHONY: help up demo dev test prove prove-identity check fix bench bench-gateway chaos env migrate migration service compile compile-remove wheel lock vendor clean

PYTHON ?= python3
LENGTH ?= 1
# One more than there are cores, because tests also wait for processes.
JOBS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
BIN := .venv/bin
IN_PARALLEL := -n $(JOBS) --dist worksteal --durations 20
# Tests start hundreds of processes, which should reuse compiled bytecode.
unexport PYTHONDONTWRITEBYTECODE
# Keep extras in the locks: without them, old versions of pip install a version other than the pinned one.
RESOLVE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
  --no-emit-index-url --no-strip-extras --upgrade
MAKE_ENVIRONMENT := $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
  { echo "Gatehouse needs Python 3.11 or newer: make PYTHON=/path/to/python3.11 up"; exit 1; }; \
  $(PYTHON) gatehouse/environment.py

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

up: .venv/ready ## Start the whole suite on this machine (Ctrl-C stops it)
	@exec $(BIN)/python -m gatehouse up

demo: .venv/ready ## Like up, filled with an invented company
	@exec $(BIN)/python -m gatehouse demo

dev: .venv/ready ## Like up, and restart changed services within a second
	@exec $(BIN)/python -m gatehouse up --reload

test: .venv/ready-dev ## Run the quick tests on all cores, or some: make test TESTS=tests/orders
	$(BIN)/python -m pytest -m "not prove$(if $(TESTS),, and not other_database)" $(IN_PARALLEL) $(TESTS)

prove: .venv/ready-dev ## Run the tests that take minutes (kills, soak, containers); longer: make prove LENGTH=10
	PROVE_LENGTH=$(LENGTH) $(BIN)/python -m pytest -m "prove$(if $(TESTS),, or other_database)" $(IN_PARALLEL) $(TESTS)

prove-identity: .venv/ready-dev ## Run the tests of OAuth, OpenID Connect and tokens; prints the RFC sections that they prove
	$(BIN)/python -m pytest -m conforms --conformance-table $(IN_PARALLEL) -r fE tests

check: .venv/ready-dev ## Check format, lint and types, without changing anything
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy

fix: .venv/ready-dev ## Format, and fix what the linter can fix
	$(BIN)/ruff format --quiet .
	$(BIN)/ruff check --fix --quiet .

bench: .venv/ready-dev ## Measure speed and memory against a FastAPI peer and other gateways
	$(BIN)/python -m tests.bench

bench-gateway: .venv/ready-dev ## Only the gateway, against nginx, HAProxy, Caddy and others
	$(BIN)/python -m tests.bench.gateway

chaos: .venv/ready-dev ## Break every part of a suite under load for ten minutes, then reconcile: make chaos LENGTH=60s SEED=4 DATABASE=sqlite
	$(BIN)/python -m tests.chaos $(if $(filter-out file default,$(origin LENGTH)),--length $(LENGTH)) $(if $(SEED),--seed $(SEED)) $(if $(DATABASE),--database $(DATABASE))

env: .venv/ready ## Write .env with fresh secrets, for docker-compose; CERTIFICATE=localhost adds a self-signed pair in tls/
	@$(BIN)/python -m gatehouse env $(if $(CERTIFICATE),--certificate $(CERTIFICATE))

migrate: .venv/ready ## Bring all databases to the newest migration
	@$(BIN)/python -m gatehouse migrate

migration: .venv/ready-dev ## Write a migration: make migration SERVICE=orders MESSAGE=add_note
	@test -n "$(SERVICE)" -a -n "$(MESSAGE)" || { echo "usage: make migration SERVICE=orders MESSAGE=add_note"; exit 2; }
	@$(BIN)/python -m gatehouse migration "$(SERVICE)" "$(MESSAGE)"
	@$(BIN)/ruff format --quiet "services/$(SERVICE)/migrations"

service: .venv/ready-dev ## Add a service: make service NAME=billing THING=invoice
	@test -n "$(NAME)" || { echo "usage: make service NAME=billing THING=invoice"; exit 2; }
	@$(BIN)/python -m gatehouse service "$(NAME)" $(if $(THING),--thing "$(THING)")
	@$(BIN)/ruff format --quiet "services/$(NAME)" "tests/$(NAME)" contracts
	@$(BIN)/ruff check --quiet --fix "services/$(NAME)" "tests/$(NAME)"
	@$(BIN)/ruff format --quiet "services/$(NAME)" "tests/$(NAME)"
	@$(BIN)/python -m gatehouse events catalogue > contracts/README.new
	@mv contracts/README.new contracts/README.md

compile: .venv/ready-dev ## Compile the hot modules of the gateway (needs a C compiler); make compile-remove undoes it
	@$(BIN)/python -m gateway.compiling

compile-remove: .venv/ready
	@$(BIN)/python -m gateway.compiling --remove

wheel: .venv/ready ## Build dist/gatehouse-VERSION.whl, which runs without this folder, and its lock (needs uv)
	@rm -rf dist
	PATH="$(CURDIR)/.venv/uv/bin:$$PATH" uv build --quiet --wheel --out-dir dist
	@cp requirements.lock "dist/$$(basename dist/*.whl -py3-none-any.whl).lock"

lock: .venv/ready-dev ## Resolve the newest versions into the four lock files (needs uv)
	$(RESOLVE) --all-extras pyproject.toml -o requirements.lock
	$(RESOLVE) --all-extras --group dev -c requirements.lock pyproject.toml -o requirements-dev.lock
	$(RESOLVE) --group compile -c requirements-dev.lock -o requirements-compile.lock
	echo uv | $(RESOLVE) - -o requirements-uv.lock

vendor: .venv/ready ## Fetch the pinned JavaScript modules of the console anew (needs npm)
	@$(BIN)/python -m gatehouse.vendor gateway/console/vendor

clean: ## Remove the virtual environment, caches and compiled modules (data/ stays)
	rm -rf .venv .compiled .compiling-* .mypy_cache .ruff_cache .pytest_cache .hypothesis

# `environment.py` removes these markers when it starts; the test environment works for `make up` as well.
.venv/ready: requirements.lock requirements-uv.lock
	@$(MAKE_ENVIRONMENT) requirements.lock
	@touch $@

.venv/ready-dev: requirements-dev.lock requirements-uv.lock
	@$(MAKE_ENVIRONMENT) requirements-dev.lock
	@touch $@ .venv/ready
