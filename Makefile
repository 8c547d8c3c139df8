# Two commands are all a newcomer needs: `make demo` and `make test`. Each makes .venv when there is none.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
UV     := $(BIN)/uv
SUBS   := $(patsubst %/pyproject.toml,%,$(sort $(wildcard plugins/*/pyproject.toml transports/*/pyproject.toml storage/*/pyproject.toml)))
PROJECTS := pyproject.toml $(SUBS:%=%/pyproject.toml)
DEV    := $(foreach p,$(shell grep -ls '^dev = ' $(PROJECTS)),--group $(p):dev)
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# uv reads neither PIP_* nor pip.conf: hand over, at run time, the index that pip was told to use.
ifndef UV_DEFAULT_INDEX
INDEX := $(or $(PIP_INDEX_URL),$(shell $(PYTHON) -m pip config get global.index-url 2>/dev/null))
ifneq ($(INDEX),)
export UV_DEFAULT_INDEX := $(INDEX)
endif
endif

.PHONY: venv demo test lint bench wheels constraints clean

venv: $(VENV)/.installed

$(UV): constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	@echo "making $(VENV)"
	@$(PYTHON) -m venv --without-pip --clear $(VENV)
	@$(PYTHON) -m pip --python $(BIN)/python install --quiet -c constraints.txt uv

$(VENV)/.installed: $(UV) $(PROJECTS)
	@echo "installing packages"
	@$(UV) pip install --quiet -c constraints.txt --group build $(DEV)
	@$(UV) pip install --quiet -c constraints.txt --no-build-isolation -e ".[fast]" $(SUBS:%=-e ./%)
	@touch $@

demo: venv
	@$(BIN)/orbitmesh demo $(ARGS)

test: lint
	$(BIN)/python -m pytest -q -n 2 --durations=10 $(ARGS)

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: venv
	$(BIN)/python -m benchmarks.run $(ARGS)

wheels: venv
	rm -rf dist && $(UV) build --quiet --wheel --all-packages --no-build-isolation --out-dir dist

# New pins: make constraints UPGRADE=--upgrade
constraints: $(UV)
	$(UV) pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links --no-emit-package orbitmesh \
	  --all-extras --group build $(DEV) $(UPGRADE) $(PROJECTS) -o constraints.txt

clean:
	rm -rf $(VENV) dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
