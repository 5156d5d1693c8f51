# shellcheck shell=bash disable=SC2154
# scripts/run asgi, go and rust: one application in nginx by nffi_pass, without Lua. Each sets
#
#   app_library    the runtime
#   app_options    what stands in its block
#   app_locations  locations of nginx's own beside it
#   app_page       a page to begin with

app_library='' app_options='' app_locations='' app_page=/

asgi_build() {
  local example=$ROOT/runtimes/python/examples/fastapi venv=$TARGET/run-venv
  build_module debian-12
  need_packages libpython3.11 python3-venv
  "$ROOT/runtimes/python/build" "$TARGET/languages/python" || die "Python's runtime could not be built: see above"
  once "$venv" "$(recipe app_venv "$example/requirements.txt")" app_venv "$venv" "$example/requirements.txt"
  app_library=$TARGET/languages/python/libnffi_python.so
  app_options="interface asgi; app chat:app; path \"$example\"; venv \"$venv\";"
  app_locations="location = / { root \"$example\"; try_files /chat.html =404; default_type text/html; charset utf-8; }"
  app_page=/docs
}

app_venv() {
  /usr/bin/python3 -m venv "$1"
  step "FastAPI: installing it and what it needs" "$1/bin/pip" install -r "$2"
}

go_build() {
  build_module debian-12
  "$ROOT/runtimes/go/examples/build" http-server "$TARGET/languages/go" || die "a Go toolchain is needed: https://go.dev/dl"
  app_library=$TARGET/languages/go/libhttp-server.so
}

rust_build() {
  build_module debian-12
  say "the example in Rust: cargo build"
  cargo build --manifest-path "$ROOT/Cargo.toml" --release --locked --package nffi-axum
  app_library=$TARGET/release/libnffi_axum.so
}

asgi_probe() { app_probe; }
go_probe() { app_probe; }
rust_probe() { app_probe; }
app_probe() { echo "$app_page"; }

asgi_prepare() { app_prepare; }
go_prepare() { app_prepare; }
rust_prepare() { app_prepare; }

app_prepare() {
  nginx_env debian-12
  tls_port=$((port + 363)) # 8443 beside 8080
  app_certificate
  word TLS_PORT "$tls_port"
  word RUN "$run"
  word LIBRARY "$app_library"
  word USER "$(worker_user "$app_library")"
  fill_in "$ROOT/nginx-conf/app.conf" >"$run/nginx.conf"
  printf '%s\n' "$app_options" >"$run/options.conf"
  printf '%s\n' "$app_locations" >"$run/locations.conf"
}

# For this run only, and for nobody but a browser that is told to trust it.
app_certificate() {
  need_packages openssl
  openssl req -x509 -newkey rsa:2048 -nodes -days 7 -subj /CN=localhost -addext 'subjectAltName=DNS:localhost,IP:127.0.0.1' \
    -keyout "$run/tls.key" -out "$run/tls.crt" 2>/dev/null || die "openssl made no certificate"
}

asgi_announce() {
  app_announce "FastAPI" "$app_page   the documentation, to try each endpoint
  /       a chat, over a WebSocket" "curl $(app_url)/api/messages
  curl -F file=@README.md $(app_url)/api/size
  curl -N '$(app_url)/api/clock?ticks=3'"
}

go_announce() {
  app_announce "Go's net/http" "/       notes, their news, and a chat" "curl $(app_url)/api/notes
  curl -N $(app_url)/api/events"
}

rust_announce() {
  app_announce "axum" "/       notes, their news, and a chat" "curl $(app_url)/notes
  curl -N $(app_url)/events"
}

app_url() { echo "http://127.0.0.1:$port"; }

app_announce() {
  cat <<EOF

$1 runs in nginx. Open

  $(app_url)$app_page
  https://127.0.0.1:$tls_port$app_page   the same over HTTP/2; the certificate was made just now, so the browser warns
  $(app_url)/metrics   what it has to do, live

  $2

or try, in another terminal:

  $3

Ctrl-C stops it.
EOF
}
