# Every target creates the environment first if it is missing or older than pyproject.toml.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

.PHONY: demo test test-all lint fix docs bench clean

demo: $(READY)  ## detect the events of a recording with the model that ships
	$(BIN)/sed detect examples/village.ogg --plot --output out/
	@cat out/village.ogg.csv
	@echo "The plot is out/village.ogg.png; the true events are in examples/village.tsv."

test: $(READY)  ## run all but the long tests
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-all: $(READY)  ## run the long tests too
	$(BIN)/python -m pytest -m ""

lint: $(READY)  ## check format, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

fix: $(READY)  ## repair format and style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(READY)  ## build the documentation into out/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

bench: $(READY)  ## measure this machine; writes docs/performance.md and the figures of the README
	$(BIN)/python -m benchmarks.run

clean:  ## remove the environment and what was made
	rm -rf .venv out

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 …"; exit 1; }
	@$(PYTHON) -m venv .venv || \
	    { rm -rf .venv; echo "No venv here. On Debian: apt install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@
