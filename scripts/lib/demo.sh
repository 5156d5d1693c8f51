# shellcheck shell=bash disable=SC2154
# scripts/run demo: this machine's installed packages in SQLite, asked from Lua.

demo_build() {
  build_module debian-12
  say "demo runtime: cargo build"
  cargo build --manifest-path "$ROOT/Cargo.toml" --release --locked --package nffi-packages
}

demo_probe() { echo "/packages?name=libc6"; }

demo_prepare() {
  local packages=$TARGET/release/libnffi_packages.so
  nginx_env debian-12
  word PACKAGES "$packages"
  word USER "$(worker_user "$packages")"
  fill_in "$ROOT/nginx-conf/demo.conf" >"$run/nginx.conf"
}

demo_announce() {
  local url=http://127.0.0.1:$port
  cat <<EOF

The demo is running. Open

  $url/

or try, in another terminal:

  curl '$url/packages?name=nginx'   packages installed on this machine
  curl $url/slow                    a query that takes seconds; /packages goes on answering
  curl $url/stats                   what the database holds
  curl $url/runtimes                nffi's own counters

Ctrl-C stops it.
EOF
}
