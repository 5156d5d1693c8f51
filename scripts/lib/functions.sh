# shellcheck shell=bash disable=SC2154
# scripts/run wasm: functions in six languages, each compiled from runtimes/wasm/examples. A language whose tools cannot
# be had is left out.

functions=() functions_dir=$TARGET/wasm/functions-run functions_cache=$TARGET/wasm/cache

wasm_build() {
  # shellcheck source=/dev/null
  . "$ROOT/scripts/lib/go.sh"
  # shellcheck source=/dev/null
  . "$ROOT/scripts/lib/wasm.sh"
  build_module debian-12
  RUST_CRATE=$ROOT/runtimes/wasm need_rust
  say "libnffi_wasm.so: cargo build (wasmtime has a compiler in it: the first time takes minutes)"
  cargo build --manifest-path "$ROOT/Cargo.toml" --release --locked --package nffi-wasm
  mkdir -p "$functions_dir" "$TARGET/log"
  functions_wit=$(wasm_wit)
  function_in thumbnail C
  function_in schema Rust
  function_in markdown Go
  function_in json Zig
  function_in highlight Python
  function_in csv JavaScript
  ((${#functions[@]})) || die "no function could be built: see above"
}

# function_in NAME LANGUAGE: builds it, unless that was done.
function_in() {
  local name=$1 language=$2 key wasm=$functions_dir/$1.wasm
  key=$(find "$ROOT/runtimes/wasm/examples/$name" "$ROOT/scripts/lib/functions.sh" -type f -exec sha1sum {} + | sort | sha1sum)
  if [[ ! -f $wasm || ! -f $wasm.stamp || $(<"$wasm.stamp") != "$key" ]]; then
    # Its own shell: an example that cannot be built is left out, and says why.
    if ! (step "$name, in $language" "${name}_function" "$wasm"); then
      say "$name is left out: $language's tools are not there, or failed"
      return
    fi
    printf '%s\n' "$key" >"$wasm.stamp"
  fi
  functions+=("$name")
}

# The interfaces of WASI 0.2, as the crate of that name has them.
wasm_wit() {
  local manifest=$ROOT/runtimes/wasm/examples/schema/Cargo.toml
  cargo metadata --manifest-path "$manifest" --format-version 1 --locked |
    sed 's/.*"manifest_path":"\([^"]*\/wasip2-[^"]*\)\/Cargo.toml".*/\1\/wit/'
}

# shellcheck disable=SC2317 # these are called by name
thumbnail_function() {
  need_packages "${WASM_C_PACKAGES[@]}" libstb-dev
  wasm_c "$ROOT/runtimes/wasm/examples/thumbnail/thumbnail.c" "$1" -isystem /usr/include/stb
}

# shellcheck disable=SC2317
schema_function() {
  wasm_rust wasm32-wasip2 "$ROOT/runtimes/wasm/examples/schema"
  cp "$WASM_RUST_OUT/schema.wasm" "$1"
}

# shellcheck disable=SC2317
markdown_function() {
  local GO_MODULE=$ROOT/runtimes/wasm/examples/markdown
  need_go
  wasm_go "$GO_MODULE" "$1" -buildmode=c-shared
}

# shellcheck disable=SC2317
json_function() {
  wasm_python python -m ziglang build-exe -target wasm32-wasi -O ReleaseSmall -fstrip "-femit-bin=$1" \
    "$ROOT/runtimes/wasm/examples/json/json.zig"
}

# shellcheck disable=SC2317
highlight_function() {
  local example=$ROOT/runtimes/wasm/examples/highlight packages=$TARGET/wasm/python-packages
  rm -rf "$packages"
  wasm_python python -m pip install --quiet --disable-pip-version-check --target "$packages" --requirement "$example/requirements.txt"
  wasm_python componentize-py -d "$functions_wit" -w wasi:http/proxy@0.2.12 componentize -p "$example" -p "$packages" app -o "$1"
}

# shellcheck disable=SC2317
csv_function() {
  local work=$TARGET/wasm/csv
  command -v npm >/dev/null || need_packages nodejs npm
  mkdir -p "$work"
  cp "$ROOT/runtimes/wasm/examples/csv"/* "$work"
  (cd "$work" && npm install --no-audit --no-fund && node build.mjs "$functions_wit" "$1")
}

# wasm_python PROGRAM ARGUMENT...: of the compilers that come as Python packages, runtimes/wasm/examples/requirements.txt.
# shellcheck disable=SC2317
wasm_python() {
  local venv=$TARGET/wasm/venv
  need_packages python3-venv
  once "$venv" "$(recipe "$ROOT/runtimes/wasm/examples/requirements.txt")" wasm_venv "$venv"
  "$venv/bin/$1" "${@:2}"
}

# shellcheck disable=SC2317
wasm_venv() {
  /usr/bin/python3 -m venv "$1"
  "$1/bin/pip" install --disable-pip-version-check --requirement "$ROOT/runtimes/wasm/examples/requirements.txt"
}

wasm_probe() { echo /functions; }

wasm_prepare() {
  nginx_env debian-12
  word FUNCTIONS "$functions_dir"
  word CACHE "$functions_cache"
  word BUILT "${functions[*]}"
  word WASM "$TARGET/release/libnffi_wasm.so"
  word USER "$(worker_user "$TARGET/release/libnffi_wasm.so")"
  fill_in_all wasm "${functions[@]}"
  step "compiling the functions for this machine" "$NGINX_BIN" -t -p "$run/" -c "$run/nginx.conf" -e "$run/error.log"
}

wasm_announce() {
  local url=http://127.0.0.1:$port name
  cat <<EOT

${#functions[@]} functions run in one nginx worker, each request in a fresh sandbox. Open

  $url/

or try, in another terminal:

EOT
  for name in "${functions[@]}"; do
    case $name in
      markdown) echo "  curl --data-binary @README.md $url/markdown                      Go: Markdown to HTML" ;;
      thumbnail) echo "  curl --data-binary @photo.jpg $url/thumbnail >small.jpg          C: a thumbnail" ;;
      schema) echo "  curl -d '{\"schema\":{\"type\":\"number\"},\"document\":\"x\"}' $url/schema  Rust: a JSON schema" ;;
      json) echo "  curl -d '{\"a\":[1,2]}' $url/json                                  Zig: JSON in lines" ;;
      highlight) echo "  curl --data-binary @main.go '$url/highlight?lexer=go'            Python: code with colours" ;;
      csv) echo "  curl --data-binary @table.csv $url/csv                           JavaScript: CSV to JSON" ;;
    esac
  done
  printf '\nCtrl-C stops it.\n'
}
