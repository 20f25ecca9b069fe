# Two commands do everything on a fresh machine with Python >= 3.11: `make demo` and `make test`. Neither needs root.
PYTHON ?= python3
# A worker a core, each with whole test files (tests/conftest.py). To debug: make test PYTEST="-n 0 -x tests/clients/web/test_web.py"
PYTEST ?= -n auto
VENV := .venv
BIN := $(VENV)/bin

demo: $(VENV)/demo
	$(BIN)/tunegate demo $(DEMO)

test: $(VENV)/test
	$(BIN)/ruff check -q server tests benchmarks && $(BIN)/ruff format --check -q server tests benchmarks
	TUNEGATE_STAGE_PYTHON=$$($(BIN)/python -m tunegate.platforms.local_process.envs --task image-classification) $(BIN)/python -m pytest -m "not slow" $(PYTEST)

test-all: $(VENV)/test
	TUNEGATE_STAGE_PYTHON=$$($(BIN)/python -m tunegate.platforms.local_process.envs --task image-classification) $(BIN)/python -m pytest $(PYTEST)

traps: $(VENV)/test
	TUNEGATE_STAGE_PYTHON=$$($(BIN)/python -m tunegate.platforms.local_process.envs --task image-classification) $(BIN)/python -m tests.traps $(TRAPS)

bench: $(VENV)/test
	$(BIN)/python benchmarks/server.py $(RUN)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/demo: $(VENV)/bin/python pyproject.toml
	$(BIN)/pip install --disable-pip-version-check -q -e .
	touch $@

$(VENV)/test: $(VENV)/bin/python pyproject.toml
	$(BIN)/pip install --disable-pip-version-check -q -e '.[test]'
	touch $@

clean:
	rm -rf $(VENV) output build dist .pytest_cache .ruff_cache

.PHONY: demo test test-all traps bench clean
