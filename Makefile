# thalweg: `make demo` and `make test` are all that a newcomer needs.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet
PYTEST := $(BIN)/python -m pytest
JOBS   ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test quick lint format survive reproduce bench docs clean

help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/.installed: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing thalweg into $(VENV) (PyTorch is large: a few minutes the first time)"
	@$(PIP) install -c constraints.txt "torch==2.13.0"
	@$(PIP) install -c constraints.txt -e .
	@touch $@

$(VENV)/.developer: $(VENV)/.installed
	@$(PIP) install -c constraints.txt -e ".[test,lint]"
	@touch $@

demo: $(VENV)/.installed  ## install, then the tour on real digits: diagnose, cure, race, train, report
	@$(BIN)/thalweg demo

test: $(VENV)/.developer  ## the tests, about twelve minutes on two cores; those of a minute and more: pytest --long
	@OMP_NUM_THREADS=1 $(PYTEST) -n $(JOBS) --dist loadfile --no-loadscope-reorder

quick: $(VENV)/.developer  ## the tests that take seconds
	@OMP_NUM_THREADS=1 $(PYTEST) -n $(JOBS) --dist loadfile --no-loadscope-reorder -m "not slow and not browser"

lint: $(VENV)/.developer  ## format, style, types and the import contract
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/pyrefly check
	@PYTHONPATH=src $(BIN)/lint-imports

survive: $(VENV)/.developer  ## kill -9, damaged files, failing disks, lost machines: the whole campaign (half an hour)
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/survive.py
	@OMP_NUM_THREADS=1 THALWEG_KILLS=20 $(PYTEST) -q tests/parallel/test_ray.py tests/race/test_ray.py

bench: $(VENV)/.developer  ## every benchmark at sample size into runs/bench, resumable (about twenty minutes); BENCH=--list shows them, BENCH="NAME ..." runs some
	@$(PIP) install -c constraints.txt -e ".[bench]"
	@OMP_NUM_THREADS=1 $(BIN)/python benchmarks/all.py $(BENCH)

format: $(VENV)/.developer  ## rewrite the files in the house format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

reproduce: $(VENV)/.installed  ## every claim of the lectures, slow ones too; resumable; THALWEG_DATA=FOLDER for MNIST and so on, FULL=--full
	@$(BIN)/thalweg reproduce --all --slow $(FULL) --run runs/claims

docs: $(VENV)/.developer  ## the documentation with live figures of every quick claim (CLAIMS=20: of twenty)
	@$(PIP) install -c constraints.txt -e ".[docs]"
	@OMP_NUM_THREADS=1 $(BIN)/python docs/build.py $(if $(CLAIMS),--claims $(CLAIMS))

clean:  ## remove what the targets above made
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src benchmarks tests -name '__pycache__' -type d -prune -exec rm -rf {} +
	find src benchmarks tests \( -name '*.nbi' -o -name '*.nbc' \) -delete
