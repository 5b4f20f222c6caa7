#!/usr/bin/env bash
# Run the tests: the fast ones first (no network but loopback), then those that send packets, inside the lab's sandbox.
#
#   scripts/test.sh [fast|packets|all] [pytest's own arguments...]
#
# Both run in two processes, or in as many as WORKERS says (0: in this one, which a debugger wants). Of the fast ones, a process
# that is done takes over what another has left (worksteal). Each process that sends packets has a sandbox of its own, so that
# they share no network, and takes whole files, because the tests of one file may share a lab; they mostly wait.
#
# Where the host cannot make the sandbox, the packet tests are skipped and the reason is said; with REQUIRE=netns in the
# environment that is a failure. Both halves run even if the first one fails.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

readonly PYTHON=.venv/bin/python
part=${1:-all}
shift $(($# > 0))

readonly WORKERS=${WORKERS:-2}
readonly SANDBOX=("$PYTHON" -m isthmus.lab.net.sandbox --)
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
failed=0
# pytest keeps what tests wrote under its user's name, and in the sandbox everybody is called root.
export PYTEST_DEBUG_TEMPROOT=$results

# Run one half and keep its last line, which has the counts. Status 5 of pytest, nothing collected, is a mistake of ours.
# A few that failed get one more try, alone, and both tries are shown: a machine that stalls for a second fails a test that
# times packets. What fails twice has failed, and so has a run with more than a few.
#
#   run NAME "${inside[@]}" -- "${how[@]}" -- "${which[@]}"
#
# inside: what the process that runs tests alone is started by, if anything; how: the options for several of them; which: the rest.
run() {
  local name=$1 status=0 inside=() how=()
  shift
  while [[ $1 != -- ]]; do inside+=("$1"); shift; done
  shift
  while [[ $1 != -- ]]; do how+=("$1"); shift; done
  shift
  printf '\n== %s tests ==\n' "$name"
  if ((${#how[@]})); then
    "$PYTHON" -m pytest "${how[@]}" "$@" 2>&1 | tee "$results/$name" || status=$?
  else
    "${inside[@]}" "$PYTHON" -m pytest "$@" 2>&1 | tee "$results/$name" || status=$?
  fi
  if ((status == 1 && $(grep -cE '^(FAILED|ERROR) ' "$results/$name") <= 4)); then
    status=0
    printf '\n== %s tests: once more, alone, what failed ==\n' "$name"
    "${inside[@]}" "$PYTHON" -m pytest "$@" -n 0 --last-failed --last-failed-no-failures none 2>&1 |
      tee "$results/$name again" || status=$?
  fi
  if ((status != 0)); then failed=1; fi
}

summary() {
  local name
  printf '\n== result ==\n'
  for name in fast 'fast again' packets 'packets again'; do
    if [[ -s $results/$name ]]; then
      printf '%-13s %s\n' "$name" "$(grep -v '^$' "$results/$name" | tail -n 1 | sed 's/^=* *//; s/ *=*$//')"
    fi
  done
}

# The API server that was found or built before is named, so that each process need not look for it.
if assets=$(scripts/apiserver.sh --no-build 2>/dev/null); then export KUBEBUILDER_ASSETS=$assets; fi

# A kubectl of the right age, if there is one or one was built before, goes first on the PATH; tests that need it and
# find none say so when they skip.
if kubectl=$(scripts/kubectl.sh --no-build 2>/dev/null); then
  mkdir "$results/bin"
  ln -s "$kubectl" "$results/bin/kubectl"
  export PATH="$results/bin:$PATH"
fi

steal=()
files=()
if ((WORKERS > 0)); then
  steal=(-n "$WORKERS" --dist worksteal)
  files=(--dist loadfile --tx "$WORKERS*popen//python=${SANDBOX[*]} $PYTHON")
fi
case $part in fast | all) run fast -- "${steal[@]}" -- -m "not packets" "$@" ;; esac
case $part in
  packets | all)
    status=0
    reason=$("${SANDBOX[@]}" true 2>&1) || status=$?
    if ((status == 0)); then
      run packets "${SANDBOX[@]}" -- "${files[@]}" -- -m packets "$@"
    elif ((status == 125)) && [[ ${REQUIRE:-} != *netns* ]]; then
      printf '\n== packets tests ==\nskipped, no packet was sent: %s\n' "$reason" | tee "$results/packets"
    else
      printf '\n== packets tests ==\nrequired here, but: %s\n' "$reason" | tee "$results/packets"
      failed=1
    fi
    ;;
esac
case $part in fast | packets | all) ;; *)
  printf 'usage: scripts/test.sh [fast|packets|all] [pytest arguments...]\n' >&2
  exit 64
  ;;
esac
summary
exit "$failed"
