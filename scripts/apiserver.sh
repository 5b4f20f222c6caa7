#!/usr/bin/env bash
# Print a directory with a kube-apiserver and an etcd 3.5 or later, or end with status 1 and one line saying how to get them.
#
# Looks at $KUBEBUILDER_ASSETS, then the PATH, then what was built here before. If there is none and Go is installed, builds
# both from their published Go modules, once, into the user's cache (tests/apiserver/ and tests/etcd/ pin the versions;
# takes minutes, and says how many). Debian's own etcd is 3.4, which lacks what a streamed list needs, and is passed over.
#
#   scripts/apiserver.sh --no-build     look, but build nothing
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly VERSION=k8s.io/component-base/version
readonly ADVICE='name a directory that has both in KUBEBUILDER_ASSETS, or install Go and run scripts/apiserver.sh'
cache=${XDG_CACHE_HOME:-$HOME/.cache}/isthmus

# Print the version, without its v, that a folder's go.mod pins for a module.
pinned() { awk -v module="$2" '{ sub(/^require /, "") } $1 == module { sub(/^v/, "", $2); print $2; exit }' "$1/go.mod"; }

kube_version=$(pinned tests/apiserver k8s.io/kubernetes)
etcd_version=$(pinned tests/etcd go.etcd.io/etcd/server/v3)
kube_built=$cache/kube-apiserver-$kube_version
etcd_built=$cache/etcd-$etcd_version

# Whether the version that a command prints after a word is this one or later: is_later 3.5 "etcd Version: " etcd --version
is_later() {
  local least=$1 word=$2 found
  shift 2
  found=$("$@" 2>/dev/null | sed -n "s/^$word\([0-9.]*\).*/\1/p" | head -n 1)
  [[ -n $found ]] && printf '%s\n%s\n' "$least" "$found" | sort --version-sort --check=quiet
}

is_etcd() { [[ -n $1 ]] && is_later 3.5 'etcd Version: ' "$1" --version; }
is_kube_apiserver() { [[ -n $1 ]] && is_later 1.30 'Kubernetes v' "$1" --version; }

# Print a directory below the cache in which the two go by the names that everybody knows.
together() {
  local directory=$cache/apiserver-$kube_version-etcd-$etcd_version
  mkdir -p "$directory"
  ln -sfn "$1" "$directory/kube-apiserver"
  ln -sfn "$2" "$directory/etcd"
  printf '%s\n' "$directory"
}

# Build one command from a folder with a go.mod, and say how long it took.
build() {
  local source=$1 target=$2 flags=$3 began=$SECONDS
  printf 'building %s with %s; this takes some minutes, once\n' "${target##*/}" "$(go version)" >&2
  mkdir -p "$cache"
  # -p 2 and nice: the machine stays usable. GOTOOLCHAIN=local: no other Go is fetched behind anybody's back.
  (cd "$source" && CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS='-mod=readonly -buildvcs=false' nice go build -p 2 -trimpath \
    -ldflags "-s -w $flags" -o "$target.new" .) >&2 || return
  mv "$target.new" "$target"
  printf 'built %s in %s s\n' "${target##*/}" "$((SECONDS - began))" >&2
}

assets=${KUBEBUILDER_ASSETS:-}
if [[ -n $assets ]]; then
  if is_kube_apiserver "$assets/kube-apiserver" && is_etcd "$assets/etcd"; then
    printf '%s\n' "$assets"
    exit 0
  fi
  printf 'KUBEBUILDER_ASSETS is %s, where there is no kube-apiserver 1.30 and etcd 3.5, or later; looking on\n' "$assets" >&2
fi

kube=
for candidate in "$(command -v kube-apiserver || true)" "$kube_built"; do
  if is_kube_apiserver "$candidate"; then kube=$candidate && break; fi
done
etcd=
for candidate in "$(command -v etcd || true)" "$etcd_built"; do
  if is_etcd "$candidate"; then etcd=$candidate && break; fi
done

if [[ ${1:-} != --no-build ]] && command -v go >/dev/null; then
  if [[ -z $etcd ]] && build tests/etcd "$etcd_built" ''; then etcd=$etcd_built; fi
  minor=${kube_version#*.}
  stamp="-X $VERSION.gitVersion=v$kube_version -X $VERSION.gitMajor=${kube_version%%.*} -X $VERSION.gitMinor=${minor%%.*}"
  if [[ -z $kube ]] && build tests/apiserver "$kube_built" "$stamp"; then kube=$kube_built; fi
fi

if [[ -n $kube && -n $etcd ]]; then
  together "$kube" "$etcd"
  exit 0
fi
missing=
[[ -n $kube ]] || missing='kube-apiserver 1.30 or later'
[[ -n $etcd ]] || missing+="${missing:+ and no }etcd 3.5 or later"
printf 'no %s: %s\n' "$missing" "$ADVICE" >&2
exit 1
