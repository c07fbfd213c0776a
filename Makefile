# Every target creates the environment first if it is missing or older than pyproject.toml.

# .venv has all extras and what developers need; .venv-lean what `pip install sed-engine` brings.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
LEAN := .venv-lean/bin
LEAN_READY := .venv-lean/ready

.PHONY: demo test test-lean test-all lint fix docs bench clean

demo: $(LEAN_READY)  ## detect the events of a recording with the model that ships
	$(LEAN)/sed detect examples/village.ogg
	@echo "The true events are in examples/village.tsv."

test: $(READY)  ## run all but the long tests
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-lean: $(LEAN_READY) out/exported.onnx  ## run the tests that need no extra, without torch
	@$(LEAN)/python -m pip install --quiet --disable-pip-version-check -e '.[test-lean]'
	@! $(LEAN)/python -c 'import torch' 2>/dev/null || { echo "torch is in .venv-lean"; exit 1; }
	SED_EXPORTED_GRAPH=out/exported.onnx $(LEAN)/python -m pytest -m "" tests/test_lean.py
	$(LEAN)/python -m pytest tests --ignore tests/test_lean.py

out/exported.onnx: $(READY)
	$(BIN)/sed export --output $@

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

clean:  ## remove the environments and what was made
	rm -rf .venv .venv-lean out

# Create an environment in the folder of a target, with this package and some extras.
define environment
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 …"; exit 1; }
	@$(PYTHON) -m venv $(@D) || \
	    { rm -rf $(@D); echo "No venv here. On Debian: apt install python3-venv"; exit 1; }
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -e '.$(1)'
	@touch $@
endef

$(READY): pyproject.toml
	$(call environment,[dev])

$(LEAN_READY): pyproject.toml
	$(call environment)
