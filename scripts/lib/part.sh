# shellcheck shell=bash
# For the parts of scripts/test. A part's second line is its headline; it exits with 0 (passed), 77 (skipped,
# by `skip`) or anything else (failed), and reports what it ran on what.

# report WHAT: a line below the part in the summary.
report() { printf '%s\n' "$*" >>"${NFFI_REPORT:-/dev/stderr}"; }

# skip WHY: only for what the machine cannot have. What is merely missing is installed, or fails.
skip() {
  report "skipped: $*"
  say "skipped: $*"
  exit 77
}

# tested LABEL COMMAND...: a `cargo test`; reports how many tests it ran, and fails when it ran none.
tested() {
  local label=$1 log rc=0 count
  shift
  log=$(mktemp "$TARGET/log/cargo.XXXXXX")
  "$@" 2>&1 | tee "$log" || rc=$?
  count=$(sed -n 's/^test result: .* \([0-9]*\) passed; \([0-9]*\) failed;.*/\1 \2/p' "$log" |
    awk '{ passed += $1; failed += $2 } END { printf "%d passed, %d failed", passed, failed }')
  rm "$log"
  report "$label: $count"
  [[ $count != "0 passed"* ]] || die "$label: no test ran"
  return "$rc"
}
