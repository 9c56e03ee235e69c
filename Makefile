# every verb does its own set-up; gpu and bench use python3 as it is
VENV ?= .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready

.PHONY: chat serve test soak clients check gpu bench bench-serve figures docs clean

$(READY): pyproject.toml
	test -x $(PY) || python3 -m venv $(VENV)
	$(PY) -c 'import torch' 2>/dev/null || $(PY) -m pip install -q torch==2.13.0
	$(PY) -c 'import triton' 2>/dev/null || $(PY) -m pip install -q triton==3.6.0
	$(PY) -m pip install -q -e '.[chat,serve,train,test]'
	touch $(READY)

chat: $(READY)
	$(PY) -m flashling chat

serve: $(READY)
	$(PY) -m flashling serve

test: $(READY)
	$(PY) -m pytest

soak: $(READY)
	$(PY) -m pytest -m 'soak or not (gpu or clients)' --timeout 3000

clients: $(READY)
	$(PY) -m pytest -m clients tests/clients

check: $(READY)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m pyright --pythonpath $(PY)

gpu:
	python3 -m pytest -m gpu tests

bench:
	python3 -m benchmarks.ops

bench-serve: $(READY)
	$(PY) -m flashling bench serve --overhead
	$(PY) -m flashling bench serve --streams 256 --requests 512 --prompt 64 --tokens 32

figures: $(READY)
	$(PY) -c 'import matplotlib' 2>/dev/null || $(PY) -m pip install -q -e '.[bench]'
	$(PY) -m benchmarks.figures

docs: $(READY)
	$(PY) -m benchmarks.docs

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache
