# shellcheck shell=bash
# What the scripts here share. Source it after `set -euo pipefail`:
#
#   say, die, step         progress and errors, all on stderr
#   locked, once           one at a time; made once, and again if it failed half way
#   lib/apt.sh             packages: installed ones, and private views of other releases
#   lib/rust.sh            a Rust toolchain that is new enough
#   lib/nginx.sh           the nginxes in target/nginx, none of them installed
#   lib/module.sh          the module and the C fixtures
#   lib/part.sh            what the parts of scripts/test report with
#   lib/testnginx.sh       Test::Nginx, and what a suite is run with
#
# Everything made lands in target/ and can be deleted at any time.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
TARGET=$ROOT/target

say() { printf '==> %s\n' "$*" >&2; }

die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# step WHAT COMMAND...: runs a command whose output matters only when it fails.
step() {
  local what=$1 log start=$SECONDS rc=0
  shift
  mkdir -p "$TARGET/log"
  log=$TARGET/log/$(tr -cs 'A-Za-z0-9.\n' '-' <<<"$what").log
  say "$what"
  # A shell of its own, so that `set -e` holds in a function given as COMMAND.
  set +e
  (
    set -e
    "$@"
  ) >"$log" 2>&1
  rc=$?
  set -e
  if ((rc)); then
    tail -n 40 "$log" >&2
    die "$what: failed with $rc; all of its output is in $log"
  fi
  ((SECONDS - start < 5)) || say "  took $((SECONDS - start)) s"
}

# locked NAME COMMAND...: no two scripts run COMMAND at the same time. Nests.
locked() {
  local name=$1
  shift
  if [[ " ${NFFI_LOCKS:-} " == *" $name "* ]]; then
    "$@"
    return
  fi
  mkdir -p "$TARGET/lock"
  (
    flock -n 9 || {
      say "waiting for another script that holds $TARGET/lock/$name"
      flock 9
    }
    export NFFI_LOCKS="${NFFI_LOCKS:-} $name"
    "$@"
  ) 9>"$TARGET/lock/$name"
}

# once DIR KEY COMMAND...: fills DIR with COMMAND, unless that was done for this KEY. A DIR that
# was left half made has no stamp, and is made anew.
once() {
  local dir=$1 key=$2
  shift 2
  [[ -f $dir/.stamp && $(<"$dir/.stamp") == "$key" ]] || locked "$(basename "$dir")" once_now "$dir" "$key" "$@"
}

once_now() {
  local dir=$1 key=$2
  shift 2
  [[ -f $dir/.stamp && $(<"$dir/.stamp") == "$key" ]] && return
  rm -rf "$dir"
  mkdir -p "$dir"
  "$@"
  printf '%s\n' "$key" >"$dir/.stamp"
}

# recipe NAME...: a key for `once` that changes with the text of the functions and files named.
recipe() {
  local name
  for name in "$@"; do
    if [[ -f $name ]]; then cat "$name"; else declare -f "$name"; fi
  done | sha1sum | cut -c1-16
}

for part in apt rust nginx module part testnginx; do
  # shellcheck source=/dev/null
  . "$ROOT/scripts/lib/$part.sh"
done
unset part
