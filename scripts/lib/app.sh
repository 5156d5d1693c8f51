# shellcheck shell=bash disable=SC2154
# scripts/run asgi, go and rust: one application in nginx by nffi_pass, without Lua. Each says what it is by
# APP_library (the runtime), APP_options (what goes into its block) and APP_try (lines to show).

asgi_build() {
  build_module debian-12
  local example=$ROOT/runtimes/python/examples/fastapi venv=$TARGET/run-venv
  need_packages python3-venv
  "$ROOT/runtimes/python/build" "$TARGET/languages/python" || die "Python's runtime could not be built"
  once "$venv" "$(recipe app_venv "$example/requirements.txt")" app_venv "$venv" "$example/requirements.txt"
  app_library=$TARGET/languages/python/libnffi_python.so
  app_options="interface asgi; app main:app; path \"$example\"; venv \"$venv\";"
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
  app_options= app_page=/
}

rust_build() {
  build_module debian-12
  cargo build --manifest-path "$ROOT/Cargo.toml" --release --locked --package nffi-axum
  app_library=$TARGET/release/libnffi_axum.so
  app_options= app_page=/
}

asgi_probe() { app_probe; }
go_probe() { app_probe; }
rust_probe() { app_probe; }
app_probe() { echo "$app_page"; }

asgi_prepare() { app_prepare; }
go_prepare() { app_prepare; }
rust_prepare() { app_prepare; }

app_prepare() {
  local word conf
  nginx_env debian-12
  tls_port=$((port + 363)) # 8443 beside 8080
  app_certificate
  declare -A words=(
    [PORT]=$port [TLS_PORT]=$tls_port [RUN]=$run [LIBRARY]="\"$app_library\"" [NFFI_MODULE]="\"$NGINX_NFFI_MODULE\""
  )
  words[USER]=$(worker_user "$app_library")
  conf=$(<"$ROOT/nginx-conf/app.conf")
  for word in "${!words[@]}"; do
    conf=${conf//@$word@/"${words[$word]}"}
  done
  printf '%s\n' "$conf" >"$run/nginx.conf"
  printf '%s\n' "$app_options" >"$run/options.conf"
}

# For this run only, and for nobody but a browser that is told to trust it.
app_certificate() {
  need_packages openssl
  openssl req -x509 -newkey rsa:2048 -nodes -days 7 -subj /CN=localhost -addext 'subjectAltName=DNS:localhost,IP:127.0.0.1' \
    -keyout "$run/tls.key" -out "$run/tls.crt" 2>/dev/null || die "openssl made no certificate"
}

asgi_announce() {
  app_announce "A FastAPI app" "  curl $url/items                   JSON
  curl -F file=@README.md $url/upload  a file
  $url/chat            a chat, over a WebSocket"
}

go_announce() { app_announce "A Go http.Handler"; }
rust_announce() { app_announce "An axum app"; }

app_announce() {
  local url=http://127.0.0.1:$port
  cat <<EOF

$1 runs in nginx. Open

  $url$app_page
  https://127.0.0.1:$tls_port$app_page   over HTTP/2, with a certificate that nobody knows: the browser warns

EOF
  app_try "$url"
  printf '\nCtrl-C stops it.\n'
}
