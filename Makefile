# Each target works alone on a fresh clone: it makes .venv first. `make PYTHON=python3.12 test` picks another Python.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: install demo docs test check laws faults bench bench-peers

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else \
		f"agriseg needs Python 3.11 or newer, {sys.executable} is {v.major}.{v.minor}; say make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(INSTALLED)
	$(BIN)/agriseg demo

docs: $(INSTALLED)
	$(BIN)/python -m sphinx -W --keep-going -n -q -b html docs docs/_build/html
	@echo docs/_build/html/index.html

# A process for each core, each with one thread: threads of several networks that wait for each other cost more than they bring.
TESTS := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto --dist worksteal

# `make BF16=absent test` and `make BF16=present test`: whatever this processor has, torch says so.
ifdef BF16
TESTS := AGRISEG_TEST_BF16=$(BF16) PYTHONPATH=$(CURDIR)/tests/processor $(TESTS)
endif

test: $(INSTALLED)
	$(TESTS)

check: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(TESTS)

# The short form runs what `make test` leaves out. `make LONG=1 faults` tries each fault as often as it takes to believe it,
# one test after the other, and prints the table of faults.
laws: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -s --timeout 0 tests/test_laws.py --long

faults: $(INSTALLED)
ifdef LONG
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q --timeout 0 -m 'fault or long' --long
else
	$(TESTS) -m long
endif

bench: $(INSTALLED)
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/empty.py
	$(BIN)/python benchmarks/engine_cost.py
	$(BIN)/python benchmarks/safety.py
	$(BIN)/python benchmarks/workers.py
	$(BIN)/python benchmarks/keys.py
	$(BIN)/python benchmarks/batch.py
	$(BIN)/python benchmarks/layers.py
	$(BIN)/python benchmarks/report.py
	$(BIN)/python benchmarks/training.py

# Beside other tools, each in an environment of its own; `make bench-peers FIELD=field.tif ARGS="--size 1024 --rounds 1"`.
FIELD ?= ../shared/data/potato_weed_uav/field/field_cols00-10.tif

bench-peers: $(INSTALLED)
	$(BIN)/python -m benchmarks.peers $(FIELD) $(ARGS)
