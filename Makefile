# The prosumer edge agent. `make` alone prints this help.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

help:  ## this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

$(STAMP): host_tools/requirements.txt host_tools/pyproject.toml
	@echo "installing the pinned tools into $(VENV) (once, about a minute)"
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "python3-venv is missing: apt install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install -q --disable-pip-version-check -r host_tools/requirements.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e host_tools
	@touch $@

install: $(STAMP)  ## make the virtual environment with all tools

demo: $(STAMP)  ## a June day in a street of eight homes, traded by eight emulated meters that an archive follows (under 3 minutes)
	@$(BIN)/prosumer demo --out runs/demo

postgres:
	@command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || { \
	  test "$$(id -u)" = 0 || { echo "the archive's tests run a PostgreSQL server of their own: sudo apt install postgresql"; exit 1; }; \
	  echo "installing the PostgreSQL server that the archive's tests run"; \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql >/dev/null; }

test: $(STAMP) postgres  ## all tests: firmware on the Unix port, agent on emulated devices, host tools (under 15 minutes)
	@$(BIN)/python -m pytest tests -q -p no:cacheprovider --durations=10

bench: $(STAMP) postgres  ## figures beside their peers: medians, ratios (about 40 minutes)
	@$(BIN)/python tests/bench/run.py

soak: $(STAMP)  ## the long searches: power cuts at every flash operation, three days of a street of 16 in which all fails, 100,000 schedules of the agreement (about 2.5 hours)
	@$(BIN)/micropython -X heapsize=64M tests/bench/soak_registers.py
	@$(BIN)/python tests/soak_street.py
	@$(BIN)/micropython -X heapsize=16M tests/sim/run_members.py --schedules 200
	@$(BIN)/micropython tests/sim/run_sim.py --schedules 12500

image: $(STAMP)  ## compile the firmware and build the device image
	@$(BIN)/prosumer image EMULATED

readme: $(STAMP)  ## refresh the README's walk of one record from the last demo
	@$(BIN)/python host_tools/readme/make.py runs/demo

verify: $(STAMP)  ## check the last demo again by independent code
	@$(BIN)/prosumer verify runs/demo

lint: $(STAMP)  ## style
	@$(BIN)/python -m ruff check --config host_tools/ruff.toml firmware host_tools tests boards

clean:  ## remove builds and runs, keep the virtual environment
	rm -rf build runs

.PHONY: help install postgres demo test bench soak image readme verify lint clean
.DEFAULT_GOAL := help
