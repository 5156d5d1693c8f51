# shellcheck shell=bash disable=SC2154
# scripts/run languages: Rust, Go, Python and Java in one nginx. A language that is not there is left out.

languages=()

languages_build() {
  build_module debian-12
  language rust "" rust_example
  language go "a Go toolchain: https://go.dev/dl, or apt-get install golang-go" go_example
  language python "Python 3.11 or later: apt-get install python3-dev" python_example
  language java "a JDK of 17 or later, and Maven: apt-get install default-jdk-headless maven" java_example
}

# language NAME WHAT BUILD: builds it, or says WHAT to install where BUILD ends with 77.
language() {
  local name=$1 what=$2 rc=0
  say "$name: building its example"
  "$3" || rc=$?
  case $rc in
    0) languages+=("$name") ;;
    77) say "$name is left out. To have it, install $what" ;;
    *) die "$name: its build failed with $rc" ;;
  esac
}

rust_example() { cargo build --manifest-path "$ROOT/Cargo.toml" --release --locked --package nffi-packages; }

go_example() { "$ROOT/runtimes/go/examples/build" zstd "$TARGET/languages/go"; }

python_example() { "$ROOT/runtimes/python/build" "$TARGET/languages/python"; }

java_example() {
  "$ROOT/runtimes/java/build" "$TARGET/languages/java" || return
  "$ROOT/runtimes/java/examples/search/build" "$TARGET/languages/java/search"
}

languages_probe() { echo /runtimes; }

languages_prepare() {
  nginx_env debian-12
  word RUST "$TARGET/release/libnffi_packages.so"
  word GO "$TARGET/languages/go/libzstd.so"
  word PYTHON "$TARGET/languages/python/libnffi_python.so"
  word JAVA "$TARGET/languages/java/libnffi_java.so"
  word JAVA_CLASS_PATH "$TARGET/languages/java/search/*"
  word USER "$(worker_user "$TARGET/release/libnffi_packages.so")"
  fill_in_all languages "${languages[@]}"
}

languages_announce() {
  local url=http://127.0.0.1:$port name
  cat <<EOF

${#languages[@]} languages run in one nginx worker. Open

  $url/

or try, in another terminal:

EOF
  for name in "${languages[@]}"; do
    case $name in
      rust) echo "  curl '$url/rust?name=nginx'   SQLite: packages of this machine" ;;
      go) echo "  curl '$url/go?file=GPL-3'     zstd: what each level saves" ;;
      python) echo "  curl $url/python              statistics of package sizes" ;;
      java) echo "  curl '$url/java?q=warranty'   Lucene: paragraphs of the common licenses" ;;
    esac
  done
  cat <<EOF
  curl $url/runtimes            nffi's own counters

Ctrl-C stops it.
EOF
}
