# Every target does its own set-up in .venv from a bare Python 3.10 to 3.13. `make help` lists them.
#   make demo PYTHON=python3.12          another Python
#   make demo PIP_ARGS="..."             further arguments of pip, such as another package index
#   make test PYTEST_ARGS="tests/volumes" some of the tests

PYTHON   ?= python3
PIP_ARGS ?=
PYTEST_ARGS ?=
# Processes of the core's tests. Most of a test is one thread, so two cores do twice as much.
TEST_JOBS ?= 2
VENV     := .venv
BIN      := $(VENV)/bin
STAMP    := $(VENV)/.installed
# Real MRML (slicer-core) has an environment of its own: its VTK and the packages of medattn need not agree.
SLICER_VENV  := .venv-slicer
SLICER_STAMP := $(SLICER_VENV)/.installed
SLICER_TESTS ?= MedAttnExtension/MedAttn/Testing/Python
DEMO_OUT := demo_output

.DEFAULT_GOAL := help
.PHONY: help demo test test-all test-core test-slicer pictures wheel lint types clean

help:
	@echo "make demo      predict sample_data/brain1, as NRRD and as DICOM, with the shipped bundle; results in $(DEMO_OUT)/"
	@echo "make test      lint, types and the fast tests, including those of the 3D Slicer extension"
	@echo "make test-core   only the tests of medattn_core;  make test-slicer  only those of the extension"
	@echo "make test-all  the same, with the slow tests"
	@echo "make pictures  take the screenshots of the 3D Slicer extension from real runs"
	@echo "make wheel     build the wheel that the extension ships, into dist/"
	@echo "make lint      run ruff: rules and format"
	@echo "make types     run mypy"
	@echo "make clean     remove the environment, caches and $(DEMO_OUT)/"

# A stamp, not the folder: an installation that was interrupted is done again.
$(STAMP): pyproject.toml setup.py constraints.txt
	@command -v $(PYTHON) >/dev/null 2>&1 || { echo "$(PYTHON) not found: install Python 3.10 to 3.13, or run make PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v >= (3, 10) else "Python 3.10 or newer is needed, %s is %d.%d: run make PYTHON=..." % ((sys.executable,) + v))'
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { echo "set-up: a new environment in $(VENV)"; $(PYTHON) -m venv $(VENV); } || \
		{ echo "could not make $(VENV): this Python lacks the venv module (on Debian and Ubuntu: apt install python3-venv)"; exit 1; }
	@echo "set-up: installing medattn and its dependencies (a few minutes, about 1.5 GB with CPU torch)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e ".[dev]"
	@touch $@
	@echo "set-up: done"

$(SLICER_STAMP): constraints.txt $(STAMP)
	@$(SLICER_VENV)/bin/python -m pip --version >/dev/null 2>&1 || { echo "set-up: a new environment in $(SLICER_VENV)"; $(PYTHON) -m venv $(SLICER_VENV); }
	@echo "set-up: installing slicer-core and Qt for the tests of the 3D Slicer extension (about 1.3 GB)"
	@$(SLICER_VENV)/bin/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt slicer-core PySide6-Essentials pytest numpy
	@touch $@
	@echo "set-up: done"

demo: $(STAMP)
	@$(BIN)/medattn predict sample_data/brain1_image.nrrd sample_data/brain1_dicom \
		--bundle brain_tumor_t1ce --output $(DEMO_OUT) --report --restart
	@echo
	@echo "Look at:"
	@for file in $(DEMO_OUT)/*.html $(DEMO_OUT)/*.png $(DEMO_OUT)/*.nii.gz $(DEMO_OUT)/predictions.*; do \
		test ! -e "$$file" || echo "  $$file"; done

lint: $(STAMP)
	@echo "lint: ruff"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(STAMP)
	@echo "types: mypy"
	@$(BIN)/mypy

# Each of the two suites ends with pytest's own line; with PYTEST_ARGS only those tests of medattn_core run.
test: lint types test-core $(if $(PYTEST_ARGS),,test-slicer)

test-core: $(STAMP)
	@echo "tests: pytest"
	@$(BIN)/python -m pytest -q -m "not slow" -n $(TEST_JOBS) --dist loadgroup $(PYTEST_ARGS)

test-slicer: $(SLICER_STAMP)
	@echo "tests: the 3D Slicer extension on real MRML, with stand-in widgets"
	@MEDATTN_PYTHON="$(CURDIR)/$(BIN)/python" $(SLICER_VENV)/bin/python -m pytest -q -m "not slow" $(SLICER_TESTS)

test-all: lint types $(SLICER_STAMP)
	@echo "tests: pytest, including slow tests"
	@$(BIN)/python -m pytest -q $(PYTEST_ARGS)
	@echo "tests: the 3D Slicer extension, including slow tests"
	@MEDATTN_PYTHON="$(CURDIR)/$(BIN)/python" $(SLICER_VENV)/bin/python -m pytest -q $(SLICER_TESTS)

pictures: $(SLICER_STAMP)
	@MEDATTN_PICTURES=MedAttnExtension/Screenshots MEDATTN_PYTHON="$(CURDIR)/$(BIN)/python" \
		$(SLICER_VENV)/bin/python -m pytest -q $(SLICER_TESTS)/test_pictures.py

wheel: $(STAMP)
	@$(BIN)/python MedAttnExtension/Utilities/build_wheel.py . dist

clean:
	rm -rf $(VENV) $(SLICER_VENV) $(DEMO_OUT) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find medattn_core tests benchmarks MedAttnExtension -name __pycache__ -type d -prune -exec rm -rf {} +
