# What one can do with a checkout. Everything is set up by itself, in .venv; nothing else is installed.
#
# Settings: ONCE=1, SCALE=, DEMO_DIR=, DEMO_AIRFLOW_PORT=, DEMO_POSTGRES_PORT=, DEMO_SMTP_PORT=, BACKUP_…=
#           SIZE=, WINDOW=, ROUNDS=, BENCH_DIR=, BENCH_REPORT_DIR=
#           ARGS= (further options of pytest), JOBS= (processes that test), PYTHON= (the Python to make .venv with, instead of the first fitting one)

SHELL = /bin/sh
.SUFFIXES:
.DEFAULT_GOAL := help
export DEMO_DIR DEMO_AIRFLOW_PORT DEMO_POSTGRES_PORT DEMO_SMTP_PORT SCALE
export SIZE WINDOW ROUNDS BENCH_DIR BENCH_REPORT_DIR

UV_VERSION = 0.13.8
JOBS = 2
PYTHON = python3 python3.13 python3.12 python3.11 python3.10
VENV_PYTHON = .venv/bin/python
UV = .venv/uv/bin/uv
READY = .venv/.ready

.PHONY: help demo backup test test-containers bench lint api requirements clean

help: ## List these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F '|' '{ printf "%-23s%s\n", $$1, $$2 }'

demo: $(READY) ## Start everything, make one real backup and show it; stays until Ctrl-C (ONCE=1: ends)
	@exec $(VENV_PYTHON) -m include.demo up $(if $(filter-out 0,$(ONCE)),--once)

backup: $(READY) ## Make one more backup in the running demo
	@exec $(VENV_PYTHON) -m include.demo backup

test: $(READY) ## Run all tests (ARGS='-k name': some of them; JOBS=0: one after the other)
	@exec $(VENV_PYTHON) -m pytest --numprocesses=$(JOBS) --dist=loadfile $(ARGS)

test-containers: $(READY) ## As root: build the image, run the stack in a real Docker engine (12 minutes)
	@.ci/docker "$(CURDIR)/var/docker" engine
	@PATH="$(CURDIR)/var/docker/bin:$$PATH" TEST_DOCKER="$(CURDIR)/var/docker" exec $(VENV_PYTHON) -m pytest tests/end_to_end/test_containers.py $(ARGS)

bench: $(READY) ## Measure backup and restore against other tools (SIZE=1GB ROUNDS=5); writes docs/benchmarks
	@exec $(VENV_PYTHON) -m benchmarks

lint: $(READY) ## Check style and types: ruff, mypy --strict
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check .
	$(VENV_PYTHON) -m mypy

api: $(READY) ## Write specs/011-automated-backup/api.yaml anew from the app
	AIRFLOW_HOME="$(CURDIR)/var/api" $(VENV_PYTHON) -m include.web.openapi

COMPILE = $(UV) pip compile --quiet --universal --python-version 3.10 --generate-hashes --no-header

requirements: $(READY) ## Compile requirements-dev.txt and requirements.txt anew from the .in files
	$(COMPILE) --output-file requirements-dev.txt requirements-dev.in
	$(COMPILE) --constraint requirements-dev.txt --output-file requirements.txt requirements.in

clean: ## Remove .venv, caches, var/demo with its sample backups, var/bench and var/api
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis var/demo var/bench var/api
	find include dags plugins tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# The stamp is made last: whatever was interrupted is taken up again by the next make.
$(READY): requirements-dev.txt
	@for python in $(PYTHON); do \
		if $$python -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null; then \
			exec $$python -I include/demo/virtual_environment.py $(UV_VERSION); \
		fi; \
	done; \
	echo 'no Python 3.10 to 3.13 found (tried $(PYTHON)): apt install python3 python3-venv' >&2; exit 1

# A .venv whose Python has gone (an upgrade of the system) is made anew.
ifneq ($(wildcard $(READY)),)
ifneq ($(shell $(VENV_PYTHON) -c 'print(1)' 2>/dev/null),1)
.PHONY: $(READY)
endif
endif
