# shellcheck shell=bash
# What functions are compiled to WebAssembly with. Source it after lib.sh.

# clang with a C library for WebAssembly.
# shellcheck disable=SC2034 # for who sources this
WASM_C_PACKAGES=(clang-14 lld-14 wasi-libc libclang-rt-14-dev-wasm32)

# The Rust that is fetched where the machine's has no libraries for WebAssembly, as Debian's has none.
WASM_RUST=1.95.0

# wasm_c SOURCE MODULE [OPTION...]
wasm_c() {
  clang-14 --target=wasm32-wasi -O2 -Wall -Wextra -Werror "${@:3}" -o "$2" "$1"
}

# wasm_go DIR MODULE [OPTION...]
wasm_go() {
  (cd "$1" && GOOS=wasip1 GOARCH=wasm go build -trimpath "${@:3}" -o "$2" .)
}

# wasm_rust TARGET DIR: the crate in DIR, released, in target/wasm/rust. Its folder of that target is left in WASM_RUST_OUT.
wasm_rust() {
  need_wasm_rust "$1"
  # Flags of the caller's are for the machine's own programs.
  RUSTFLAGS='' CARGO_TARGET_DIR=$TARGET/wasm/rust PATH="${WASM_RUST_BIN:+$WASM_RUST_BIN:}$PATH" \
    cargo build --manifest-path "$2/Cargo.toml" --release --locked --target "$1"
  # shellcheck disable=SC2034 # for who calls this
  WASM_RUST_OUT=$TARGET/wasm/rust/$1/release
}

WASM_RUST_BIN=''

has_wasm_target() { [[ -d $(PATH="${WASM_RUST_BIN:+$WASM_RUST_BIN:}$PATH" rustc --print target-libdir --target "$1" 2>/dev/null) ]]; }

# need_wasm_rust TARGET: afterwards a rustc, first on PATH or in WASM_RUST_BIN, has its libraries.
need_wasm_rust() {
  has_wasm_target "$1" && return
  if command -v rustup >/dev/null && rustup target add "$1" >&2 && has_wasm_target "$1"; then
    return
  fi
  need_packages curl ca-certificates
  once "$TARGET/tools/rustup" "$WASM_RUST" step "Rust $WASM_RUST with wasm32-wasip1 and wasm32-wasip2" fetch_wasm_rust
  WASM_RUST_BIN=$(echo "$TARGET"/tools/rustup/toolchains/*/bin)
  has_wasm_target "$1" || die "Rust $WASM_RUST has no $1"
}

# shellcheck disable=SC2317 # called by once
fetch_wasm_rust() {
  local dir=$TARGET/tools/rustup
  curl --proto '=https' --fail --silent --show-error --location --output "$dir/rustup-init" \
    "https://static.rust-lang.org/rustup/dist/$(uname -m)-unknown-linux-gnu/rustup-init"
  chmod +x "$dir/rustup-init"
  RUSTUP_HOME=$dir CARGO_HOME=$dir/cargo RUSTUP_INIT_SKIP_PATH_CHECK=yes "$dir/rustup-init" -y --no-modify-path --profile minimal \
    --default-toolchain "$WASM_RUST" --target wasm32-wasip1 --target wasm32-wasip2
  rm -rf "$dir/cargo" "$dir/rustup-init"
}
