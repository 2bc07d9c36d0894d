# make lab: the course in JupyterLab. make test: every test. Both make .venv first if it is not there or is out of date.
.PHONY: lab test lessons lint help

lab: ; @PYTHON='$(PYTHON)' sh environment.sh lab && exec .venv/bin/python -m fmlab lab $(LAB_ARGS)

test: ; @PYTHON='$(PYTHON)' sh environment.sh test && exec .venv/bin/python -m pytest --durations=10 $(TEST_ARGS)

lessons: ; @sh environment.sh lab && exec .venv/bin/python -m fmlab lessons build

lint: ; @sh environment.sh test && exec .venv/bin/python -m ruff check .

help: ; @sed -n 1p Makefile
