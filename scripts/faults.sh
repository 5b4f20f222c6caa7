#!/usr/bin/env bash
# Fail everything that can fail, many times, on virtual time, and say what came of it.
#
#   scripts/faults.sh [COUNT] [--jobs N] [--first SEED]     plans of chance (10,000 by default, two processes)
#   scripts/faults.sh every [--path PATH] [--jobs N]        each single failure at each point of one life
#   scripts/faults.sh SEED story [--faults "..."]           tell one plan
#
# Ends with 1 if a law was broken. docs/explanation/faults.md says what is injected and what is asked.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PYTHONPATH=src:tests PYTHONHASHSEED=0

readonly PYTHON=.venv/bin/python
jobs=(--jobs 2)
for word in "$@"; do [[ $word == --jobs* ]] && jobs=(); done

if [[ ${1:-} == every ]]; then
  exec "$PYTHON" -m faults "$@" "${jobs[@]}"
elif [[ ${2:-} == story ]]; then
  seed=$1
  shift 2
  exec "$PYTHON" -m faults "$seed" "$@"
fi
count=10000
if [[ ${1:-} =~ ^[0-9]+$ ]]; then
  count=$1
  shift
fi
exec "$PYTHON" -m faults run "$count" "$@" "${jobs[@]}"
