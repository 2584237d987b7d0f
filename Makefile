# Everything sets itself up, in .venv and .servers here; "make clean" takes it all away again.
PYTHON ?= python3
BIN := .venv/bin
# The servers that the tests start: the system's if it has them, else those that tests/support/servers.sh brings.
export PATH := $(CURDIR)/.servers/usr/bin:$(CURDIR)/.servers/usr/sbin:$(PATH)

.PHONY: help run demo test lint lint-bench dist bench history soak fuzz hostile rules dashboards docs site lock clean

help: ## Show what can be made.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

run: .venv/run ## Run the exporter on loopback, for a first look: no signatures, ledger in this folder.
	@echo
	@echo '  SMTPeter posts failures to   http://127.0.0.1:10125/failures'
	@echo '  Prometheus scrapes           http://127.0.0.1:10126/metrics'
	@echo
	@echo '  Try it in another terminal:'
	@echo "    curl -i -d 'id=1&recipient=someone@example.com&state=rcptto&code=550&extended=5.1.1' http://127.0.0.1:10125/failures"
	@echo '    curl -s http://127.0.0.1:10126/metrics | grep ^smtpeter_failures_total'
	@echo '  A new series is shown as 0 for its first minute, so that increase() sees it; Ctrl-C stops.'
	@echo
	@$(BIN)/smtpeter-exporter serve --signature.mode off \
	  --webhook.listen-address 127.0.0.1:10125 --web.listen-address 127.0.0.1:10126

demo: .venv/demo servers ## Watch dashboards and alerts at work: simulated traffic with a spike, on loopback.
	@$(BIN)/python -m deploy.demo $(ARGS)

test: .venv/test servers ## Run all tests on the built wheel, with real servers where they can be had.
	$(BIN)/python -m tests.support.wheel -n 4 --dist worksteal --cov --cov-report=term

lint: .venv/lint ## Check style, types, imports, the workflow, and that generated files are up to date.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/zizmor --offline --quiet .github
	$(BIN)/python docs/generate.py --check
	$(BIN)/python deploy/prometheus/make_rules.py --check
	$(BIN)/python grafana/make_dashboards.py --check

lint-bench: .venv/lint .venv/bench ## Check the types of bench/, which needs what it compares with.
	$(BIN)/mypy bench

dist: .venv/dist ## Build what is released: sdist, wheel, the list of what it needs (SBOM), checksums; always the same.
	@test -z "$$(git status --porcelain 2>/dev/null)" || { \
	  echo 'What git status shows would get into the packages, secrets included: commit it, or put it elsewhere.' >&2; exit 1; }
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

bench: .venv/bench ## Compare with what one would write or take instead, into docs/performance.md; needs wrk and two cores.
	$(BIN)/python -m bench.throughput

history: .venv/bench ## Measure with 10,000 and with 10,000,000 failures in the ledger, and while these are pruned.
	$(BIN)/python -m bench.history $(ARGS)

soak: .venv/bench ## Run an exporter for MINUTES (60) beside hostile clients; exits 1 when something was lost.
	$(BIN)/python -m bench.soak

fuzz: .venv/bench ## Send 100,000 mutated requests; exits 1 on a fault, a wrong count, or memory that grows.
	$(BIN)/python -m bench.fuzz

hostile: .venv/bench ## Measure good clients and scrapes beside 200 and 1,500 hostile connections.
	$(BIN)/python -m bench.hostile

rules: .venv/run ## Write Prometheus's rules anew from deploy/prometheus/thresholds.toml.
	$(BIN)/python deploy/prometheus/make_rules.py

dashboards: .venv/lint ## Write Grafana's dashboards anew from grafana/*.py and deploy/prometheus/thresholds.toml.
	$(BIN)/python grafana/make_dashboards.py

docs: .venv/run ## Write the generated part of the documentation anew.
	$(BIN)/python docs/generate.py

site: .venv/docs ## Build the documentation as a site, into build/site; whatever is doubtful, such as a broken link, is an error.
	$(BIN)/python -m sphinx -E -W -n --keep-going -q -c docs -d build/doctrees . build/site

lock: .venv/run ## Lock the newest versions of all dependencies, with hashes; "make lock UPGRADE=" keeps those that are locked.
	$(BIN)/pip install --quiet --disable-pip-version-check uv
	cat requirements/*.txt > .venv/locks.txt
	$(LOCK) $(UPGRADE) --group build -o requirements/run.txt
	$(LOCK) $(UPGRADE) $(EXTRAS) -c requirements/run.txt -o requirements/image.txt
	$(LOCK) $(UPGRADE) $(EXTRAS) $(GROUPS:%=--group %) -c requirements/run.txt -c requirements/image.txt -o .venv/locks.txt
# What is in the file prefers its versions: so all locks agree, and can be installed beside each other.
	for group in $(GROUPS); do \
	  case $$group in lint|test|bench) extras='$(EXTRAS)';; *) extras=;; esac; \
	  cp .venv/locks.txt requirements/$$group.txt; \
	  $(LOCK) $$extras --group $$group -o requirements/$$group.txt || exit; \
	done
UPGRADE := --upgrade
GROUPS := demo dist docs lint test bench
EXTRAS := --extra granian --extra postgres
# With extras, or pip 23 looks for a newer version of what is asked for with one, for which there is no hash.
LOCK := UV_CUSTOM_COMPILE_COMMAND='make lock' $(BIN)/uv pip compile --quiet pyproject.toml --universal \
  --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-strip-extras

clean: ## Remove what was set up here; the ledger stays.
	rm -rf .venv .servers build dist .coverage* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache

# One pip at a time in the one .venv.
.NOTPARALLEL:

.PHONY: servers
servers:
	@sh tests/support/servers.sh

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; try make PYTHON=python3.11")'
	@$(PYTHON) -m venv .venv || { rm -rf .venv; \
	  echo 'The module venv is missing; on Debian and Ubuntu: apt-get install python3-venv' >&2; exit 1; }

.venv/%: requirements/%.txt pyproject.toml .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@
