# shellcheck shell=bash
# Test::Nginx, and what the suites of t/ are run with. Only Debian's unstable release packages it; its
# pure Perl is unpacked into target/, and its dependencies are installed from the machine's own release.

TEST_NGINX_PACKAGES=(perl libhttp-message-perl libipc-run-perl liblist-moreutils-perl libtest-base-perl
  libtest-longstring-perl libtext-diff-perl liburi-perl libwww-perl procps psmisc curl python3)

need_test_nginx() {
  local dir=$TARGET/testnginx
  need_packages "${TEST_NGINX_PACKAGES[@]}"
  once "$dir" "$(recipe test_nginx_unpack)" test_nginx_unpack "$dir"
  export PERL5LIB="$dir/usr/share/perl5:$ROOT/t/lib"
  export PATH="$dir/bin:$PATH"
}

test_nginx_unpack() {
  local dir=$1
  step "Test::Nginx: reading its release's package lists" apt_view sid
  step "Test::Nginx: unpacking" unpack sid "$dir" libtest-nginx-perl
  # Its leak mode makes load with weighttp, which Debian lacks.
  mkdir "$dir/bin"
  printf '#!/bin/sh\nexec python3 "%s" "$@"\n' "$ROOT/scripts/lib/weighttp.py" >"$dir/bin/weighttp"
  chmod +x "$dir/bin/weighttp"
}

# suite_env NGINX SINK: builds what the suites need on that nginx, and exports what they read.
suite_env() {
  local name=$1 sink=$2
  need_test_nginx
  build_module "$(nginx_base "$name")"
  [[ $name != patched-* ]] || "$ROOT/scripts/patched-nginx" "${name#patched-}"
  build_fixtures
  nginx_env "$name"
  export TEST_NGINX_BINARY=$NGINX_BIN TEST_NGINX_LOAD_MODULES="$NGINX_LUA_MODULES $NGINX_NFFI_MODULE"
  export NFFI_ROOT=$ROOT NFFI_LUA_PATH=$NGINX_LUA_PATH NFFI_FIXTURES=$TARGET/fixtures NFFI_TEST_SINK=$sink
}

# run_suites LABEL FILE...: prove, with the environment as it is. Reports what it ran; fails when a test failed,
# when none ran, and when an nginx is left behind. Its folder, $SUITES_DIR, is removed when all went well; else
# FAILED_SUITES are the files that failed.
run_suites() {
  local label=$1 file files=() rc=0 counts
  shift
  for file in "$@"; do
    files+=("$(realpath "$file")")
  done
  # A folder of this run's own: Test::Nginx makes its server roots in ./t, one a port.
  SUITES_DIR=${SUITES_DIR:-$(new_suites_dir)}
  mkdir -p "$SUITES_DIR/t"
  (
    cd "$SUITES_DIR"
    TEST_NGINX_RANDOMIZE=1 prove --jobs "${SUITE_JOBS:-2}" --timer "${files[@]}"
  ) 2>&1 | tee "$SUITES_DIR/prove.log" || rc=$?
  counts=$(sed -n 's/^Files=\([0-9]*\), Tests=\([0-9]*\),.*/\1 files, \2 tests/p' "$SUITES_DIR/prove.log" | tail -n 1)
  [[ -n $counts && $counts != *" 0 tests" ]] || counts="nothing ran" rc=1
  end_leftovers "$SUITES_DIR/t/" || counts+="; an nginx did not end" rc=1
  # shellcheck disable=SC2034 # for the caller
  mapfile -t FAILED_SUITES < <(sed -n 's/^\(\/.*\.t\) *(Wstat.*/\1/p' "$SUITES_DIR/prove.log")
  if ((rc)); then
    report "$label: $counts, FAILED; server roots and output: ${SUITES_DIR#"$ROOT/"}"
  else
    report "$label: $counts"
    rm -rf "$SUITES_DIR"
  fi
  unset SUITES_DIR
  return "$rc"
}

# What failed is kept for a day.
new_suites_dir() {
  mkdir -p "$TARGET/suites"
  find "$TARGET/suites" -mindepth 1 -maxdepth 1 -mmin +1440 -exec rm -rf {} +
  mktemp -d "$TARGET/suites/XXXXXX"
}

# end_leftovers PATH: processes that have PATH on their command line get 10 s to end, and are ended then.
end_leftovers() {
  local tries pids
  for ((tries = 0; tries < 100; tries++)); do
    pgrep -f -- "$1" >/dev/null || return 0
    sleep 0.1
  done
  mapfile -t pids < <(pgrep -f -- "$1")
  ps -o pid,stat,etime,args -p "$(IFS=, && echo "${pids[*]}")" >&2
  kill -KILL "${pids[@]}"
  return 1
}

# suites [NAME...]: files of t/, a line each: what scripts/test was given, else the ones named, else all.
suites() {
  local name
  if [[ -n ${NFFI_TEST_FILES:-} ]]; then
    printf '%s\n' "$NFFI_TEST_FILES"
  elif (($#)); then
    for name in "$@"; do
      [[ -f $ROOT/t/$name.t ]] || die "no suite t/$name.t: scripts/test.d names it"
      printf '%s\n' "$ROOT/t/$name.t"
    done
  else
    printf '%s\n' "$ROOT"/t/*.t
  fi
}
