# Every target makes the environment first, when it is missing or older than pyproject.toml.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

.PHONY: demo test test-all lint fix bench clean

demo: $(READY)  ## find the sounds in a real recording with the model that ships here
	$(BIN)/sed detect examples/village.ogg --plot --output out/
	@cat out/village.ogg.csv
	@echo "The picture is out/village.ogg.png; what is true is examples/village.tsv."

test: $(READY)  ## all but the long tests
	$(BIN)/python -m pytest

test-all: $(READY)  ## the long ones too
	$(BIN)/python -m pytest -m ""

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

fix: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)  ## measure this machine; writes docs/benchmarks.md
	$(BIN)/python -m benchmarks.run

clean:
	rm -rf .venv out

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 …"; exit 1; }
	@$(PYTHON) -m venv .venv || \
	    { rm -rf .venv; echo "No venv here. On Debian: apt install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@
