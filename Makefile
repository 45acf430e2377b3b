# `make demo` and `make test` are all the set-up there is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test test-all test-torch lint docs clean

demo: $(INSTALLED)
	$(BIN)/mrcnn demo --output demo_output

# A process a core; the tests of a file share what they build. The order of files is that of
# tests/conftest.py.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

ON_JAX := mrcnn/ops tests/ops tests/layers tests/test_network*.py tests/training/test_gradnorm.py tests/test_hlo.py

ON_TORCH := tests/ops tests/layers tests/test_network*.py tests/checkpoints \
	$(addprefix tests/training/test_,gradnorm.py mixed_precision.py model.py session.py stages.py trainer.py)

FEW_ON_TORCH := tests/test_network_parity.py tests/test_network_chance.py tests/ops/test_nms.py tests/layers/test_losses.py

# On JAX, ResNeXt's blocks take a minute each to compile, and others many seconds.
test: $(INSTALLED)
	$(PYTEST) -m "not slow"
	KERAS_BACKEND=jax $(PYTEST) -m "not slow" $(ON_JAX) --ignore tests/layers/test_resnext.py \
		--ignore tests/layers/test_layers.py --ignore tests/ops/test_roi_pool.py
	@if $(BIN)/python -c "import torch" 2>/dev/null; then \
		echo "On PyTorch:"; KERAS_BACKEND=torch $(PYTEST) -m "not slow" $(FEW_ON_TORCH); \
	else \
		echo "PyTorch is not installed: its tests are left to make test-torch, which installs it."; \
	fi

test-all: $(INSTALLED)
	$(PYTEST)
	KERAS_BACKEND=jax $(PYTEST) $(ON_JAX) tests/training/test_mixed_precision.py
	$(MAKE) test-torch

# PyTorch is a download of gigabytes, and is installed for this target alone.
test-torch: $(INSTALLED)
	$(BIN)/python -m pip install --quiet --editable ".[torch]"
	KERAS_BACKEND=torch $(PYTEST) -m "not slow" $(ON_TORCH)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m mypy

# The documentation site, into site/. A warning, such as a dead link, is an error.
docs: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

# constraints.txt holds the versions that the two commands were tested with.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("mrcnn needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Run: make PYTHON=python3.11 ..." if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,jax]"
	touch $@

clean:
	rm -rf $(VENV) demo_output build dist site *.egg-info
