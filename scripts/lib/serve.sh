# shellcheck shell=bash
# An nginx of ours in the foreground, until Ctrl-C: what scripts/run starts its demos with. Sets and reads:
#
#   port     where it listens, on 127.0.0.1
#   run      its folder, target/run/PORT, which goes when it ends
#   master   its process

port=8080 run='' master=''

# Whoever listens there already would answer in the demo's place. The lock is for one that is still building.
port_is_free() {
  local who=
  mkdir -p "$TARGET/lock"
  exec 8>"$TARGET/lock/run-$port"
  flock -n 8 || who=' by another scripts/run'
  [[ -n $who ]] || (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || return 0
  if [[ -z $who ]] && command -v ss >/dev/null; then
    who=$(ss -Hltnp "sport = :$port" | sed -n 's/.*users:(("\([^"]*\)",pid=\([0-9]*\).*/ by \1 (process \2)/p' | head -n 1)
  fi
  die "port $port is in use$who: stop that, or choose another port: scripts/run --port 8081"
}

# The worker's user, where root starts it: one that can read this tree, with as few rights as possible.
worker_user() {
  local user
  ((EUID == 0)) || return 0
  for user in "${SUDO_USER:-nobody}" nobody; do
    if runuser -u "$user" -- test -r "$1" -a -r "$ROOT/lua/resty/nffi.lua" 2>/dev/null; then
      printf 'user %s %s;' "$user" "$(id -gn "$user")"
      return
    fi
  done
  printf 'user root;'
}

declare -A words=()

# word NAME VALUE: what fill_in puts in place of @NAME@.
word() { words[$1]=$2; }

# fill_in FILE: its text, with the words in it filled in. Call nginx_env before.
fill_in() {
  local name conf
  word ROOT "$ROOT"
  word PORT "$port"
  word LUA_PATH "$NGINX_LUA_PATH"
  word NFFI_MODULE "$NGINX_NFFI_MODULE"
  word NGINX_MODULES "${NGINX_LUA_MODULES%%/ndk_http_module.so*}"
  conf=$(<"$1")
  for name in "${!words[@]}"; do
    conf=${conf//@$name@/"${words[$name]}"}
  done
  printf '%s\n' "$conf"
}

# fill_in_all FOLDER NAME...: nginx-conf/FOLDER.conf and, of each name, its runtime and its locations, into the run's
# folder.
fill_in_all() {
  local folder=$1 kind name
  shift
  fill_in "$ROOT/nginx-conf/$folder.conf" >"$run/nginx.conf"
  for kind in runtime location; do
    for name in "$@"; do
      fill_in "$ROOT/nginx-conf/$folder/$name.$kind.conf"
    done >"$run/${kind}s.conf"
  done
}

# In a session of its own, so that Ctrl-C reaches this script only, which then stops nginx in order. Should the
# script be killed outright, nginx is told to end, too.
start() {
  setpriv --pdeathsig TERM setsid "$NGINX_BIN" -p "$run/" -c "$run/nginx.conf" -e stderr 8>&- &
  master=$!
}

# wait_until_it_answers PATH
wait_until_it_answers() {
  local tries=300
  until answers "$1"; do
    alive || die "nginx did not start: see above"
    ((tries--)) || die "nginx started, but http://127.0.0.1:$port$1 does not answer: see above"
    sleep 0.2
  done
}

# A GET without curl, which a fresh Debian lacks.
answers() {
  local status=
  {
    exec 3<>"/dev/tcp/127.0.0.1/$port" || return 1
    printf 'GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n' "$1" >&3
    read -r -t 5 status <&3 || status=
    exec 3>&-
  } 2>/dev/null
  [[ $status == *' 200 '* ]]
}

alive() { kill -0 "$master" 2>/dev/null; }

wait_for_nginx() {
  local rc=0
  wait "$master" || rc=$?
  master=
  die "nginx ended by itself (status $rc): see above"
}

# At every exit: nginx ends, with its workers, and its files go.
# shellcheck disable=SC2317 # the trap calls it
stop() {
  local rc=$? tries=100
  trap '' INT TERM HUP
  if [[ -n $master ]] && alive; then
    printf '\n' >&2
    say "stopping nginx"
    kill -TERM "$master" 2>/dev/null || true
    while alive && ((tries--)); do sleep 0.1; done
    if alive; then
      say "nginx does not end: killing it"
      kill -KILL -- "-$master" 2>/dev/null || true
    fi
    wait "$master" 2>/dev/null || true
  fi
  rm -rf "$run"
  rmdir "$TARGET/run" 2>/dev/null || true
  exit "$rc"
}
