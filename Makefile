# One-word jobs. `make` alone lists them. Whatever a job needs is set up first; see scripts/setup.sh.
SHELL := /bin/bash
.DEFAULT_GOAL := help
# An ordinary user's PATH on Debian lacks sbin, where nft, ip and bridge live.
export PATH := $(PATH):/usr/local/sbin:/usr/sbin:/sbin

.PHONY: help setup demo test fast packets lint lab docs bench faults mutants clean

help: ## list the jobs
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## make .venv and install what is missing; a second run does nothing
	@scripts/setup.sh

demo: setup ## see the main job with real packets, under a minute
	@.venv/bin/isthmus lab demo; status=$$?; printf 'isthmus lab demo: exit status %s\n' $$status; exit $$status

test: setup ## fast tests, then packet tests
	@scripts/test.sh all

fast: setup ## only the tests that send no packets
	@scripts/test.sh fast

packets: setup ## only the tests that send packets, inside the sandbox
	@scripts/test.sh packets

lint: setup ## format, lint, types, layers; changes nothing
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

lab: setup ## the lab with a prompt inside; leaving it removes every trace
	@.venv/bin/isthmus lab shell

docs: setup ## write the generated reference pages anew
	.venv/bin/python scripts/generate_docs.py

bench: setup ## time the main promises against references of the same run; BENCH=name picks one
	@BENCH='$(BENCH)' scripts/bench.sh

faults: setup ## crash, cut and starve the controller on virtual time; COUNT=10000 for a thorough look
	@scripts/faults.sh $(or $(COUNT),400)

mutants: setup ## plant known bugs one at a time and see the tests fail; MUTANT=name picks one
	@PYTHONPATH=tests .venv/bin/python -m mutants.run $(MUTANT)

clean: ## remove what the jobs above left in the checkout, .venv included
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis build dist
	find src tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
