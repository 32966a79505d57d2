# `make search` and `make test` each work alone on a machine with Python, pip and make: they create .venv first.
PYTHON ?= python3
ARGS ?=
TEST_ARGS ?=
JOBS ?= 2

BIN := .venv/bin
STAMP := .venv/installed
DOCS_STAMP := .venv/installed-docs
TPU := .venv-tpu
UV := $(shell uv pip install --help 2>/dev/null | grep -q -e --group && echo yes)

.DEFAULT_GOAL := help
.PHONY: help install search test test-all parity browser tpu docs lint clean

help:
	@echo "make search [ARGS='space=mnasnet trials=64']   search on real images; the results land in runs/"
	@echo "make test   [TEST_ARGS='-k pareto'] [JOBS=2]   linter, type checker and the tests that every change must pass"
	@echo "make test-all                                  these and tests/nightly, with random seeds for the properties"
	@echo "make parity [TEST_ARGS='-k xception']          networks against Keras' own, and torchvision's and timm's where installed"
	@echo "make browser [ARGS=runs/default/report.html]   the report in headless Chromium, which must be on the PATH"
	@echo "make tpu                                       programs compiled for a TPU that need not be there, in an environment of its own"
	@echo "make docs                                      the documentation: docs/_build/html/index.html"
	@echo "make lint                                      linter and type checker alone"
	@echo "make install                                   create .venv, which every target above does when needed"
	@echo "make clean                                     remove .venv and caches, never runs/"

install: $(STAMP)

# Without ARGS a first search whose front is worth reading: images of 16 pixels, and half of the trials at even steps of the cost.
search: $(STAMP)
	@$(BIN)/python -m nas search $(if $(strip $(ARGS)),$(ARGS),run=runs/default dataset.resolution=16 search.stratified=12)

# A process runs whole files; all tests that use Ray run in one.
PYTEST := $(BIN)/python -m pytest -n $(JOBS) --dist loadgroup --no-loadscope-reorder

# The type checker keeps one core busy for half a minute: it runs beside the tests, and what it says comes last.
test: $(STAMP)
	@$(BIN)/python -m ruff check
	@$(BIN)/python -m pyright > .venv/pyright.txt 2>&1 & types=$$!; \
	$(PYTEST) $(TEST_ARGS); tests=$$?; \
	wait $$types; types=$$?; echo "pyright:"; tail -n 40 .venv/pyright.txt; \
	exit $$((tests ? tests : types))

test-all: lint
	NAS_TESTS_XLA=full $(PYTEST) -m '' --hypothesis-profile=random $(TEST_ARGS)

PARITY := $(addprefix tests/nightly/test_,parity.py torch_parity.py timm_lists.py)

# PyTorch is a gigabyte, so that it is not of the dev group: pip install --group parity; without it these tests are skipped.
parity: $(STAMP)
	NAS_TESTS_XLA=full $(BIN)/python -m pytest -m nightly -s -rs $(PARITY) $(TEST_ARGS)

browser: $(STAMP)
	$(BIN)/python tests/browser/check_report.py $(ARGS)

# libtpu holds the compiler; it is 200 MB to download.
tpu: $(TPU)/installed
	$(TPU)/bin/python benchmarks/tpu.py $(ARGS)

docs: $(DOCS_STAMP)
	$(BIN)/python -m sphinx -W --keep-going -q -n -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

lint: $(STAMP)
	$(BIN)/python -m ruff check
	$(BIN)/python -m pyright

clean:
	rm -rf .venv $(TPU) build dist docs/_build docs/reference/api .pytest_cache .ruff_cache .hypothesis
	find nas conf search_spaces tests -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last and holds the folder's path: an interrupted or moved installation is finished by the next make.
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(CURDIR))
.PHONY: $(STAMP)
endif

ifeq ($(UV),yes)
$(STAMP): pyproject.toml
	@echo "Installing into .venv with uv: hundreds of megabytes to download, a few minutes the first time ..."
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { rm -rf .venv && uv venv --quiet --python '>=3.11' .venv; }
	@uv pip install --quiet --python $(BIN)/python --editable . --group dev
	@echo '$(CURDIR)' > $@

$(DOCS_STAMP): $(STAMP)
	@uv pip install --quiet --python $(BIN)/python --group docs
	@echo '$(CURDIR)' > $@

$(TPU)/installed: $(STAMP)
	@$(BIN)/python -m venv --clear --without-pip $(TPU)
	@uv pip install --quiet --python $(TPU)/bin/python --editable . 'jax[tpu]'
	@echo '$(CURDIR)' > $@
else
# Debian's python3 may come without ensurepip: then the machine's own pip puts a pip into the bare environment.
$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "error: nas needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo missing)." \
	    "Name another one: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "Installing into .venv with pip: hundreds of megabytes to download, a few minutes the first time ..."
	@$(BIN)/python -m pip --version >/dev/null 2>&1 \
	  || $(PYTHON) -m venv --clear .venv >/dev/null 2>&1 \
	  || { $(PYTHON) -m venv --clear --without-pip .venv && $(PYTHON) -m pip --python $(BIN)/python install -qq pip; }
	@$(BIN)/python -m pip --disable-pip-version-check -qq install --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip --disable-pip-version-check -qq install --editable . --group dev
	@echo '$(CURDIR)' > $@

$(DOCS_STAMP): $(STAMP)
	@$(BIN)/python -m pip --disable-pip-version-check -qq install --group docs
	@echo '$(CURDIR)' > $@

$(TPU)/installed: $(STAMP)
	@$(BIN)/python -m venv --clear --without-pip $(TPU)
	@$(BIN)/python -m pip --python $(TPU)/bin/python --disable-pip-version-check -qq install --editable . 'jax[tpu]'
	@echo '$(CURDIR)' > $@
endif
