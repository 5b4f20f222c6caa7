#!/usr/bin/env bash
# Measure how fast Isthmus is, as ratios to plain tools: a table, and build/bench.json. Exit 1 if a goal is missed.
#
#   BENCH=name,name scripts/bench.sh     only these (BENCH_SCALE and BENCH_PROFILE: see bench/__main__.py)
#
# Benches that need namespaces run inside the lab's sandbox; where the host cannot make one, their rows say why.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
exec .venv/bin/python -m bench
