# Two commands do all the set-up on a machine with python3 (3.11 or later), pip and make:
#   make baseline   the environment, and the study of the baseline
#   make test       the environment, and the gate: format, lint, types, tests
# Another one runs the tests that take long as well:
#   make test-all   before a release, and after changes to what they are about
# and one makes the committed results of the experiments anew, where nothing is on record:
#   make results    all experiments, a table each in experiments/results/

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(PYTHON) -m pip --python $(BIN)/python
PEERS := .venv-peers
# Each is a script of benchmarks/ that can be run alone; all together take some four hours, half of
# it the last. At the end docs/speed.md and the figures are made of what was measured.
BENCHMARKS := training variants startup first_epoch first_run epochs costs threads workers records memory \
	growth study

# Without compiled bytecode, importing TensorFlow takes three times as long. pip would compile on one
# core. Some packages bring files of other Pythons, which are no error, and many their tests, which
# nobody imports: a fifth of it all.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := $(PIP) install --quiet --no-compile --constraint constraints.txt --editable
COMPILE := $(BIN)/python -m compileall -qq -j 0 -x '/tests?/' $(VENV)/lib/python3*/site-packages || true

.PHONY: baseline test test-all check lint format results bench bench-peers picture clean

baseline: $(VENV)/.installed
	$(BIN)/python -m mnist_lab.study baseline

results: $(VENV)/.installed
	mkdir -p experiments/results
	for file in experiments/*.toml; do \
		name=$$(basename $$file .toml); \
		$(BIN)/python -m mnist_lab.experiment $$name --output experiments/results/$$name.csv || exit; \
	done

# The types are checked by a test, beside the others.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist load --maxschedchunk 1

test: lint
	$(PYTEST) -m "not slow"

test-all: lint
	$(PYTEST)

check: lint
	$(BIN)/mypy

lint: $(VENV)/.installed-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

format: $(VENV)/.installed-test
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

picture: $(VENV)/.installed-test
	$(BIN)/python -m benchmarks.picture

bench: $(VENV)/.installed-test
	$(INSTALL) '.[bench]'
	$(COMPILE)
	for name in $(BENCHMARKS); do $(BIN)/python -m benchmarks.$$name || exit; done
	$(BIN)/python -m benchmarks.training small
	$(BIN)/python -m benchmarks.speed

# PyTorch, JAX and scikit-learn are no dependencies: they get an environment of their own. The largest
# net is trained here alone, beside `fit` as well: it takes half an hour.
bench-peers: $(VENV)/.installed-test $(PEERS)/.installed
	for net in baseline small 3x1024; do $(BIN)/python -m benchmarks.others $$net || exit; done
	$(BIN)/python -m benchmarks.speed

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)
	$(INSTALL) .
	$(COMPILE)
	touch $@

$(VENV)/.installed-test: pyproject.toml constraints.txt | $(VENV)
	$(INSTALL) '.[test]'
	$(COMPILE)
	touch $@ $(VENV)/.installed

$(PEERS)/.installed: benchmarks/constraints-peers.txt
	$(PYTHON) -m venv --without-pip $(PEERS)
	$(PYTHON) -m pip --python $(PEERS)/bin/python install --quiet --constraint $< torch jax scikit-learn
	touch $@

# Debian's python3 cannot give an environment its pip without one package more, so the pip at
# hand installs it.
$(VENV):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "error: $$($(PYTHON) --version) is not accepted; expected Python 3.11 or later: make PYTHON=python3.11 …" >&2; \
		exit 2; }
	$(PYTHON) -m venv --without-pip $(VENV)
	$(PIP) install --quiet pip || { rm -rf $(VENV); exit 1; }

clean:
	rm -rf $(VENV) $(PEERS) .pytest_cache .mypy_cache .ruff_cache *.egg-info
