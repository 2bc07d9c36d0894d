# make lab: the course in JupyterLab. make test: every test, in two processes of one thread each. Both make .venv first if it is
# not there or is out of date.
# make fuzz: 10,000 damaged files and odd answers, by one process; make test has 1,500 of them.
.PHONY: lab test fuzz lessons lint help

lab: ; @PYTHON='$(PYTHON)' sh environment.sh lab && exec .venv/bin/python -m fmlab lab $(LAB_ARGS)

test: ; @PYTHON='$(PYTHON)' sh environment.sh test && OMP_NUM_THREADS=1 exec .venv/bin/python -m pytest -n 2 --dist worksteal --durations=15 $(TEST_ARGS)

fuzz: ; @sh environment.sh test && FMLAB_FUZZ=10000 OMP_NUM_THREADS=1 exec .venv/bin/python -m pytest -q -s tests/robustness -k fuzz

lessons: ; @sh environment.sh lab && exec .venv/bin/python -m fmlab lessons build

lint: ; @sh environment.sh test && exec .venv/bin/python -m ruff check .

help: ; @sed -n 1p Makefile
