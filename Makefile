# One command each. Uses the active virtual environment, or makes .venv.
VENV := $(if $(VIRTUAL_ENV),$(VIRTUAL_ENV),.venv)
PYTHON := $(VENV)/bin/python
export PATH := $(abspath $(VENV))/bin:$(PATH)
STUDY ?= cold_start

.PHONY: help install fix lint types test fast docs bench contract house attack lock mutants

help:  ## Print this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile

$(PYTHON):
	python3 -m venv $(VENV)

install: $(PYTHON)  ## Install everything that development needs, at the locked versions
	bash tests/install.sh

fix:  ## Sort imports, mend what ruff can mend, and format
	ruff check --fix .
	ruff format .

lint:  ## Check style, types and imports
	ruff check .
	ruff format --check .
	mypy
	if command -v lint-imports >/dev/null; then lint-imports --no-cache; fi

types:  ## Print what type checkers of users cannot see (pyright); other packages left aside
	pyright --verifytypes pocket_colbert --ignoreexternal

test:  ## Check style, types and imports, then run all tests
test: lint
	python -m pytest

fast:  ## Run the tests that take under a minute in all
	python -m pytest -m "not slow"

docs:  ## Build the documentation's site
	mkdocs build --strict -f docs/site/mkdocs.yml

bench:  ## Run a study of benchmarks/studies, such as: make bench STUDY=encode ARGS=--help
	python -m benchmarks.studies.$(STUDY) $(ARGS)

contract:  ## Try the server with thousands of requests made from its OpenAPI document
	python -m tests.tools.contract $(ARGS)

mutants:  ## Put small bugs in, a few hours long, and count those that tests notice; needs .[mutants]
	python -m tests.tools.mutants $(ARGS)

house:  ## Print sizes, imports, and the walks of a search, an index and an export
	python -m tests.tools.house $(ARGS)

attack:  ## Kill, damage and flood everything for eight minutes; see ARGS=--help
	python -m tests.tools.attack $(ARGS)

lock:  ## Add what is new to tests/constraints.txt; UPGRADE=1 takes new versions too; needs uv
	uv pip compile --quiet $(if $(UPGRADE),--upgrade) --universal --python-version 3.10 --no-annotate \
		--extra dev --extra export --constraint tests/pins.txt \
		--custom-compile-command "make lock" --output-file tests/constraints.txt pyproject.toml
