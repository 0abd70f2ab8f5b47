# make test, make demo and make lint need only Python >= 3.10: each sets up .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
MEASURE := $(BIN)/python -m tools.measure
READY := $(VENV)/.ready
UV := $(shell command -v uv 2>/dev/null || echo $(BIN)/uv)

.DEFAULT_GOAL := help
.PHONY: help setup test test-slow lint format demo demo-seeds evidence constraints clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

setup: $(READY)  ## install everything into .venv

$(READY): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -x $(UV) || $(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(UV) pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[dev]'
	@touch $@

test: $(READY)  ## the tests, without the slow ones
	OMP_NUM_THREADS=1 $(MEASURE) $(BIN)/python -m pytest -q --numprocesses 2 --dist loadfile

test-slow: $(READY)  ## the tests that take minutes
	$(BIN)/python -m pytest -q -m slow

demo: $(READY)  ## fine-tune a small model in three ways, gate each, and write a report: two minutes on a CPU
	$(BIN)/emt demo --output out/demo --overwrite

demo-seeds: $(READY)  ## the demo with five seeds: a table of what each learned, kept and lost; ten minutes
	$(BIN)/python -m tools.demo_seeds out/demo-seeds --overwrite

evidence: $(READY)  ## claims and remedies on a small real model: hours; DATA=folder LARGE=folder [SEEDS=2 WORK=out/evidence ONLY=remedies]
	$(BIN)/python -m tools.evidence $(or $(WORK),out/evidence) --data $(DATA) --large $(LARGE) --seeds $(or $(SEEDS),2) $(if $(ONLY),--only $(ONLY))

lint: $(READY)  ## ruff, mypy, and whether the reference pages are up to date
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m tools.build_docs --check

format: $(READY)  ## let ruff rewrite what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Without inspect and trackio: they do not go with the newest versions of what everything else needs.
EXTRAS := dev bench bitsandbytes deepspeed docs mlflow wandb

constraints: $(READY)  ## upgrade the pinned versions
	$(UV) pip compile --quiet --universal --python-version 3.10 --no-header --no-annotate --no-emit-index-url \
		--upgrade $(EXTRAS:%=--extra %) pyproject.toml --output-file constraints.txt

clean:  ## remove .venv and everything built
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
