#!/usr/bin/env bash
# Make this checkout ready to use: .venv with the packages of uv.lock, and the Debian packages the lab needs.
#
# Run it as often as you like: when nothing is missing it says nothing and ends in well under a second. Only PyPI and the
# system's own package mirror are asked. As root it installs missing Debian packages, without recommended ones and without
# starting any service; as anybody else it prints the line to run and goes on with what works without them. Exit status 1
# only if .venv cannot be made.
#
#   PYTHON=/path/to/python3.12 scripts/setup.sh     choose the interpreter of a new .venv
#   ISTHMUS_NO_APT=1 scripts/setup.sh               never install Debian packages, only name them
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# An ordinary user's PATH on Debian lacks sbin, where nft, ip and bridge live.
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

readonly STAMP=.venv/.isthmus-setup
# The uv that is installed into .venv where the host has none that works.
readonly UV=0.13.8
readonly MODERN='import sys; assert sys.version_info >= (3, 11)'
# command:package; the sandbox and the lab use the first five, curl is for people at the lab's prompt.
readonly TOOLS=(nft:nftables ip:iproute2 bridge:iproute2 unshare:util-linux nsenter:util-linux curl:curl)

say() { printf 'setup: %s\n' "$*" >&2; }

# Print the packages whose commands are missing, each once.
missing_tools() {
  local pair
  for pair in "${TOOLS[@]}"; do
    command -v "${pair%%:*}" >/dev/null || printf '%s\n' "${pair##*:}"
  done | sort -u
}

# Print the first interpreter of version 3.11 or later. Old ones and shims that only complain are passed over.
find_python() {
  local candidate
  for candidate in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11 python3.14 /usr/bin/python3; do
    if "$candidate" -c "$MODERN" >/dev/null 2>&1; then
      command -v "$candidate"
      return
    fi
  done
  return 1
}

# Print the packages without which no virtual environment can be made here.
missing_python() {
  local python
  if python=$(find_python); then
    "$python" -c 'import ensurepip, venv' >/dev/null 2>&1 ||
      "$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'
  elif command -v python3 >/dev/null; then
    # The distribution's python3 is too old (Ubuntu 22.04); a later one stands beside it.
    printf 'python3.11\npython3.11-venv\n'
  else
    printf 'python3\npython3-venv\n'
  fi
}

# Install Debian packages and start nothing: policy-rc.d answering 101 forbids it while dpkg runs (deb-systemd-invoke(1)).
apt_install() {
  local policy=/usr/sbin/policy-rc.d ours=no status=0
  say "installing Debian packages, without recommended ones and without starting services: $*"
  if [[ ! -e $policy && ! -L $policy ]]; then
    ours=yes
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
  fi
  local install=(env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@")
  local package known=yes
  for package in "$@"; do
    [[ -n $(apt-cache madison "$package" 2>/dev/null) ]] || known=no
  done
  if [[ $known == no ]] || ! "${install[@]}" >&2; then
    say "refreshing the package lists"
    apt-get update -q >&2 && "${install[@]}" >&2 || status=$?
  fi
  if [[ $ours == yes ]]; then
    rm -f "$policy"
    trap - EXIT
  fi
  return "$status"
}

# Install Debian packages if we may, else print how. Returns 0 only if they are there now.
provide() {
  local line="apt-get install -y --no-install-recommends $*"
  if ! command -v apt-get >/dev/null; then
    say "missing here (Debian's names): $*; install them with this system's package manager"
  elif [[ $EUID -ne 0 ]]; then
    say "missing Debian packages; to install them run:  sudo $line"
  elif [[ -n ${ISTHMUS_NO_APT:-} ]]; then
    say "missing Debian packages; to install them run:  $line"
  elif apt_install "$@"; then
    return 0
  else
    say "could not install them; try yourself:  $line"
  fi
  return 1
}

# Print what .venv must match: the lock, the project's metadata, and where we are (a venv cannot be moved).
fingerprint() {
  sha256sum uv.lock pyproject.toml
  pwd -P
}

is_current() {
  [[ -x .venv/bin/isthmus && -e .venv/bin/python && -f $STAMP ]] && [[ $(fingerprint) == "$(<"$STAMP")" ]]
}

# Whether .venv can be brought up to date as it stands: a modern Python, pip, and not moved since it was made.
is_usable() {
  [[ ! -f $STAMP || $(tail -n 1 "$STAMP") == "$(pwd -P)" ]] &&
    .venv/bin/python -c "$MODERN; import pip" >/dev/null 2>&1
}

make_venv() {
  local python
  if ! python=$(find_python); then
    say "no Python 3.11 or later was found on the PATH"
    return 1
  fi
  say "making .venv with $("$python" --version) ($python)"
  "$python" -m venv --clear .venv
}

sync_packages() {
  export UV_PROJECT_ENVIRONMENT=.venv UV_PYTHON_DOWNLOADS=never
  # Trust whom the system trusts: there may be a proxy with a certificate of its own.
  export UV_SYSTEM_CERTS=1
  local sync=(sync --frozen --quiet --python .venv/bin/python)
  unset VIRTUAL_ENV
  if command -v uv >/dev/null && uv "${sync[@]}"; then return; fi
  if [[ ! -x .venv/bin/uv || $(.venv/bin/uv --version) != "uv $UV"* ]]; then
    say "installing uv $UV into .venv"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$UV"
  fi
  .venv/bin/uv "${sync[@]}"
}

main() {
  # One at a time per checkout: the lock is this file itself, so that nothing is left behind.
  exec 9<scripts/setup.sh
  if command -v flock >/dev/null; then flock 9; fi

  local packages
  mapfile -t packages < <(
    is_current || is_usable || missing_python
    missing_tools
  )
  if ((${#packages[@]})); then
    provide "${packages[@]}" || say "going on without them; what needs them will be skipped and named"
  fi

  if ! is_current; then
    if [[ -L .venv ]]; then
      # Through a link, "venv --clear" empties what another checkout works with.
      say ".venv is a link to $(readlink .venv), which is not this checkout's to change; remove the link to get one of its own"
      return 1
    fi
    is_usable || make_venv
    say "installing the Python packages of uv.lock into .venv"
    sync_packages
    .venv/bin/isthmus --version >/dev/null
    fingerprint >"$STAMP"
    say "$(.venv/bin/isthmus --version) is ready: .venv/bin/isthmus"
  fi
}

main "$@"
