# Thin names for tools/setup.py: each is a first command on a fresh clone and installs what it needs.
PYTHON ?= python3
SETUP = $(PYTHON) tools/setup.py

.PHONY: help lab lab-check test test-all test-gpu book assignments grade bench doctor
help:
	@$(SETUP) --help
lab lab-check test book assignments grade bench doctor:
	@$(SETUP) $@
test-all:
	@$(SETUP) test --all
test-gpu:
	@$(SETUP) test --gpu
