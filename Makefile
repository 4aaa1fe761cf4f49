# make demo   the main job on the built-in demo camera, with a summary
# make test   the check command, the same as in CI
# make fuzz   the fuzzers, for an hour or so; SEED=2 for other inputs
# All make .venv first; that is done again only when pyproject.toml changes.

SHELL := /bin/bash
STAMP := .venv/.installed-$(shell cksum < pyproject.toml | cut -d' ' -f1)
BIN := .venv/bin

# A name on PATH may be a shim of a version that is not there, so each candidate is asked.
PYTHON ?= $(shell for p in python3.12 python3.11 python3; do \
	$$p -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null && echo $$p && break; done)

# Torch's threads would spin while they wait, which on a busy machine costs more than all else.
export OMP_WAIT_POLICY := PASSIVE

.PHONY: demo test fuzz install clean

demo: $(STAMP)
	CUDA_VISIBLE_DEVICES= $(BIN)/python -m pipeline.cli.demo configs/demo.yaml

test: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest

SEED ?= 1
fuzz: $(STAMP)
	$(BIN)/python -m tests.fuzz reader --runs 1000000 --seed $(SEED)
	$(BIN)/python -m tests.fuzz packets --runs 1000000 --seed $(SEED)
	$(BIN)/python -m tests.fuzz layer --runs 20000 --seed $(SEED)

install: $(STAMP)

$(STAMP):
	@test -n "$(PYTHON)" || { echo "make: needs Python 3.11 or 3.12 (set PYTHON=...)" >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,openvino]'
	$(BIN)/python -W ignore -m pipeline.codec.warm
	rm -f .venv/.installed-*
	touch $@

clean:
	rm -rf .venv out build *.egg-info
