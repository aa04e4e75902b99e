# make demo       a first result, from a bare clone
# make test       everything that CI runs
# make installs   the built wheel on each Python of this machine, a part of make test

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test lint types floors pytest installs clean

demo: $(VENV)/.installed
	$(BIN)/fewct demo --out fewct_demo

test: lint types floors pytest installs

lint: $(VENV)/.installed-dev
	$(BIN)/ruff format --check src tests benchmarks campaigns
	$(BIN)/ruff check src tests benchmarks campaigns

types: $(VENV)/.installed-dev
	$(BIN)/mypy

floors: $(VENV)/.installed-dev
	$(BIN)/lint-imports

pytest: $(VENV)/.installed-dev
	$(BIN)/pytest --numprocesses 2 --dist worksteal

installs: $(VENV)/.installed-dev
	$(BIN)/python tests/installs.py

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable .
	touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) --editable '.[all,dev]'
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) fewct_demo
