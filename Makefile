# Each target sets up what it needs in .venv and .servers; "make clean" removes both.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The tests start real servers: the system's, or those that tests/support/servers.sh fetches.
export PATH := $(CURDIR)/.servers/usr/bin:$(CURDIR)/.servers/usr/sbin:$(PATH)

.PHONY: help run demo test coverage test-fast test-pythons texts lint lint-bench dist bench history volume soak fuzz hostile slow-dns chaos rules dashboards docs site lock clean

help: ## List the targets.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

run: $(VENV)/run ## Run the exporter on loopback for a first look: without signatures, with the ledger in this directory. ARGS adds flags.
	@$(if $(strip $(ARGS)),,$(FIRST_LOOK))
	@$(BIN)/python -m exporter serve --signature.mode off \
	  --webhook.listen-address 127.0.0.1:10125 --web.listen-address 127.0.0.1:10126 $(ARGS)

# With ARGS, the addresses may be others; the exporter logs them when it is ready.
define FIRST_LOOK
echo; \
echo '  SMTPeter posts failures to   http://127.0.0.1:10125/failures'; \
echo '  Prometheus scrapes           http://127.0.0.1:10126/metrics'; \
echo '  Status page                  http://127.0.0.1:10126/'; \
echo; \
echo '  Try it in another terminal:'; \
echo "    curl -i -d 'id=1&recipient=someone@example.com&state=rcptto&code=550&extended=5.1.1' http://127.0.0.1:10125/failures"; \
echo '    curl -s http://127.0.0.1:10126/metrics | grep ^smtpeter_failures_total'; \
echo '  A new series is exposed as 0 for one minute, so that increase() sees its first failure. Press Ctrl-C to stop.'; \
echo
endef

demo: $(VENV)/demo servers ## Run the exporter with Prometheus, Alertmanager and simulated traffic that contains a spike.
	@$(BIN)/python -m deploy.demo $(ARGS)

TEST = $(BIN)/python -m tests.support.wheel -n 4 --dist worksteal --durations=15

test: $(VENV)/test servers ## Run all tests on the built wheel, with real servers where they can be installed.
	$(TEST)

coverage: $(VENV)/test servers ## Run all tests like "make test", and fail if they execute less than 95% of the code.
	$(TEST) --cov --cov-report=term

test-fast: $(VENV)/test ## Run the unit tests and the tests of the SQLite ledger, in half a minute.
	$(BIN)/python -m pytest -q -n 2 --dist worksteal -m 'not server' tests/unit tests/ledger

test-pythons: ## Run "make test-fast" on each Python from 3.11 on that is installed here.
	@set -e; default=$$($(PYTHON) -c 'import sys; print("python%d.%d" % sys.version_info[:2])'); \
	for python in $$(sh tests/support/pythons.sh); do \
	  name=$$(basename $$python); \
	  if [ $$name = $$default ]; then venv=.venv; else venv=.venv/$$name; fi; \
	  echo "Testing with $$python"; \
	  $(MAKE) --no-print-directory test-fast PYTHON=$$python VENV=$$venv; \
	done

texts: $(VENV)/test servers ## Write tests/texts.yaml from the texts that the exporter shows to people.
	$(BIN)/python -m pytest -q --update-texts

lint: $(VENV)/lint ## Check style, spelling, types, imports, the workflow, and that generated files are up to date.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/typos
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/zizmor --offline --quiet .github
	$(BIN)/python docs/generate.py --check
	$(BIN)/python deploy/prometheus/make_rules.py --check
	$(BIN)/python grafana/make_dashboards.py --check

lint-bench: $(VENV)/lint $(VENV)/bench ## Check the types of bench/, which needs the libraries that it compares with.
	$(BIN)/mypy bench

dist: $(VENV)/dist ## Build a release, reproducibly: sdist, wheel, SBOM and checksums.
	@test -z "$$(git status --porcelain 2>/dev/null)" || { \
	  echo 'The packages would contain all files that git status lists, secrets included. Commit or remove them.' >&2; exit 1; }
	rm -rf dist
	$(BIN)/python -m hatchling build -d dist
	$(BIN)/python -m venv --without-pip dist/sbom
	sed '/--hash/d; s/\\$$//' requirements/run.txt > dist/sbom/pinned.txt
	$(BIN)/python -m pip --python dist/sbom/bin/python install --quiet --disable-pip-version-check \
	  --constraint dist/sbom/pinned.txt dist/*.whl
	sed 's/^dynamic = .*/version = "$(VERSION)"/' pyproject.toml > dist/sbom/pyproject.toml
	$(BIN)/cyclonedx-py environment --pyproject dist/sbom/pyproject.toml --output-reproducible \
	  --output-file dist/smtpeter_exporter-$(VERSION).cdx.json dist/sbom/bin/python
	rm -r dist/sbom
	cd dist && sha256sum * > SHA256SUMS
VERSION = $(shell sed -n 's/^__version__ = "\(.*\)"/\1/p' exporter/__init__.py)

bench: $(VENV)/bench $(VENV)/test ## Compare the throughput with alternatives, and update docs/performance.md. Needs wrk and two cores.
	$(BIN)/python -m bench.throughput

history: $(VENV)/bench $(VENV)/test ## Measure with 10,000 and with 10,000,000 failures in the ledger, and while they are pruned.
	$(BIN)/python -m bench.history $(ARGS)

volume: $(VENV)/bench $(VENV)/test ## Measure disk space, commits and pruning with 100,000,000 deliveries in the ledger. ARGS=--postgres
	$(BIN)/python -m bench.volume $(ARGS)

soak: $(VENV)/bench $(VENV)/test ## Run an exporter for MINUTES (60) under hostile clients. Exits with 1 if a failure was lost.
	$(BIN)/python -m bench.soak

fuzz: $(VENV)/bench $(VENV)/test ## Send 100,000 mutated requests and 1,300 forged signatures. Exits with 1 if one is treated wrongly.
	$(BIN)/python -m bench.fuzz $(ARGS)

hostile: $(VENV)/bench $(VENV)/test servers ## Measure good clients during 1,500 hostile connections, and try to smuggle requests.
	$(BIN)/python -m bench.hostile

slow-dns: $(VENV)/bench $(VENV)/test ## Send 1,000 signed requests at once while DNS is slow or down. Exits with 1 if one is treated wrongly.
	$(BIN)/python -m bench.slow_dns

chaos: $(VENV)/bench $(VENV)/test ## Kill the exporter, make its ledger hang, cut its power, fill its disk. Exits with 1 on a lost or doubled failure. ARGS=--help
	$(BIN)/python -m bench.chaos $(ARGS)

rules: $(VENV)/run ## Generate the Prometheus rules from deploy/prometheus/.
	$(BIN)/python deploy/prometheus/make_rules.py

dashboards: $(VENV)/lint ## Generate the Grafana dashboards from grafana/*.py and deploy/prometheus/thresholds.toml.
	$(BIN)/python grafana/make_dashboards.py

docs: $(VENV)/run ## Generate docs/reference.md from the code.
	$(BIN)/python docs/generate.py

site: $(VENV)/docs ## Build the documentation as a website in build/site. A warning, such as a broken link, is an error.
	$(BIN)/python -m sphinx -E -W -n --keep-going -q -c docs -d build/doctrees . build/site

lock: $(VENV)/run ## Lock the newest versions of all dependencies, with hashes. "make lock UPGRADE=" keeps the locked versions.
	$(BIN)/pip install --quiet --disable-pip-version-check uv
	cat requirements/*.txt > $(VENV)/locks.txt
	$(LOCK) $(UPGRADE) --group build -o requirements/run.txt
	$(LOCK) $(UPGRADE) $(EXTRAS) -c requirements/run.txt -o requirements/image.txt
	$(LOCK) $(UPGRADE) $(EXTRAS) $(GROUPS:%=--group %) -c requirements/run.txt -c requirements/image.txt -o $(VENV)/locks.txt
# uv prefers the versions in the output file, so all locks agree and can be installed together.
	for group in $(GROUPS); do \
	  case $$group in lint|test|bench) extras='$(EXTRAS)';; *) extras=;; esac; \
	  cp $(VENV)/locks.txt requirements/$$group.txt; \
	  $(LOCK) $$extras --group $$group -o requirements/$$group.txt || exit; \
	done
UPGRADE := --upgrade
GROUPS := demo dist docs lint test bench
EXTRAS := --extra postgres --extra reasons
# Keep the extras: without them pip 23 looks for a newer version of a package that has extras, and finds no hash for it.
LOCK := UV_CUSTOM_COMPILE_COMMAND='make lock' $(BIN)/uv pip compile --quiet pyproject.toml --universal \
  --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-strip-extras

clean: ## Remove everything that make set up. The ledger stays.
	rm -rf .venv .servers build dist .coverage* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache

# Only one pip at a time may change the virtual environment.
.NOTPARALLEL:

.PHONY: servers
servers:
	@sh tests/support/servers.sh

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo '$(PYTHON) is not installed. Try: make PYTHON=python3.11' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed. Try: make PYTHON=python3.11")'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo 'Python has no venv module. On Debian and Ubuntu: apt-get install python3-venv' >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	  echo 'The virtual environment $(VENV) could not be created: see the error above. Is the disk full, or the directory not writable?' >&2; exit 1; }

$(VENV)/%: requirements/%.txt pyproject.toml $(BIN)/python
	@echo 'Installing the packages of $< in $(VENV)'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $< || { \
	  echo 'The packages in $< could not be installed: see the error above. Is the network reachable, and the disk not full?' >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@
