#!/usr/bin/env bash
# Print the path of a kubectl that is 1.27 or later, or end with status 1 and one line saying how to get one.
#
# Looks at $ISTHMUS_KUBECTL, then the PATH, then the one built here before. If there is none and Go is installed, builds
# kubectl from its published Go module, once, into the user's cache (tests/kubectl/ pins the version; takes minutes).
# Debian's own kubectl is 1.20 and too old for the server-side behaviour that our tests rely on.
#
#   scripts/kubectl.sh --no-build     look, but build nothing
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly SOURCE=tests/kubectl
readonly VERSION=k8s.io/component-base/version
cache=${XDG_CACHE_HOME:-$HOME/.cache}/isthmus
# The module v0.32.1 is Kubernetes 1.32.1; kubectl is told so by the linker, as in a release.
minor_patch=$(awk '$1 == "k8s.io/kubectl" { sub(/^v0\./, "", $2); print $2; exit }' "$SOURCE/go.mod")
built=$cache/kubectl-1.$minor_patch

is_usable() {
  local minor
  minor=$("$1" version --client --output=json 2>/dev/null | sed -n 's/.*"minor": *"\([0-9]*\).*/\1/p' | head -n 1)
  [[ -n $minor ]] && ((minor >= 27))
}

for candidate in "${ISTHMUS_KUBECTL:-}" "$(command -v kubectl || true)" "$built"; do
  if [[ -n $candidate ]] && is_usable "$candidate"; then
    printf '%s\n' "$candidate"
    exit 0
  fi
done

if [[ ${1:-} != --no-build ]] && command -v go >/dev/null; then
  printf 'building %s with %s; this takes some minutes, once\n' "${built##*/}" "$(go version)" >&2
  mkdir -p "$cache"
  # -p 1 and nice: the machine stays usable. GOTOOLCHAIN=local: no other Go is fetched behind anybody's back.
  if (cd "$SOURCE" && CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS='-mod=readonly -buildvcs=false' nice go build -p 1 -trimpath \
    -ldflags "-s -w -X $VERSION.gitVersion=v1.$minor_patch -X $VERSION.gitMajor=1 -X $VERSION.gitMinor=${minor_patch%%.*}" \
    -o "$built.new" .) >&2; then
    mv "$built.new" "$built"
    printf '%s\n' "$built"
    exit 0
  fi
fi
printf 'no kubectl of version 1.27 or later: put one on the PATH or name it in ISTHMUS_KUBECTL, or install Go and run scripts/kubectl.sh\n' >&2
exit 1
