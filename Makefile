# make demo    detect the events of the demo recording, beside the truth
# make test    run the tests
# make check   style and types
# make bench   how fast it is
# All work in the active virtual environment, or else in .venv, which the first of them makes.

VENV := $(or $(VIRTUAL_ENV),.venv)
BIN := $(abspath $(VENV))/bin
READY := $(VENV)/.peaframe-ready

.PHONY: demo test check bench

demo: $(READY)
	$(BIN)/python examples/demo.py

test: $(READY)
	$(BIN)/pytest

# mypy sees the folders as they are installed: peaframe.eval is eval, and so on
check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	rm -rf build/types
	mkdir -p build/types/peaframe
	ln -s "$(CURDIR)"/peaframe/* "$(CURDIR)"/eval "$(CURDIR)"/recipes "$(CURDIR)"/cli build/types/peaframe
	cd build/types && $(BIN)/mypy --config-file ../../pyproject.toml -p peaframe

bench: $(READY)
	@set -e; for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file; done

$(READY): pyproject.toml constraints.txt setup.sh
	./setup.sh $(VENV)
	touch $@
