# shellcheck shell=bash
# A Rust toolchain: the one on PATH where it is new enough, else Debian's own rustc-web, which
# Debian 12 keeps current for its browsers.

# The oldest that builds the crate in RUST_CRATE (the workspace, where nobody says otherwise), as its Cargo.toml says.
rust_wanted() { sed -n 's/^rust-version = "\([0-9.]*\)"/\1/p' "${RUST_CRATE:-$ROOT}/Cargo.toml" | head -n 1; }

rust_found() { rustc --version 2>/dev/null | cut -d' ' -f2 | cut -d- -f1; }

rust_is_new_enough() {
  local found
  found=$(rust_found)
  [[ -n $found ]] && command -v cargo >/dev/null && [[ $(printf '%s\n' "$(rust_wanted)" "$found" | sort -V | head -n 1) == "$(rust_wanted)" ]]
}

# need_rust [clippy] [rustfmt]: afterwards `cargo` is one that can build this.
need_rust() {
  local tool bin=$TARGET/tools/rust
  if ! rust_is_new_enough; then
    [[ -z $(rust_found) ]] || say "rustc $(rust_found) is older than $(rust_wanted), which this needs: taking Debian's rustc-web"
    need_packages rustc-web cargo-web
    # Before anything older that PATH may hold, and without moving the rest of /usr/bin forward.
    mkdir -p "$bin"
    for tool in cargo rustc rustdoc cargo-clippy clippy-driver cargo-fmt rustfmt; do
      ln -sfn "/usr/bin/$tool" "$bin/$tool"
    done
    export PATH="$bin:$PATH"
    rust_is_new_enough || die "Debian's rustc-web is $(rust_found), but this needs $(rust_wanted): is bookworm-security in the apt sources?"
  fi
  for tool in "$@"; do
    case $tool in
      clippy) cargo clippy --version >/dev/null 2>&1 || rust_addition clippy rust-web-clippy ;;
      rustfmt) cargo fmt --version >/dev/null 2>&1 || rust_addition rustfmt rustfmt-web ;;
      *) die "need_rust: unknown tool $tool" ;;
    esac
  done
}

rust_addition() {
  installed rustc-web || die "this Rust toolchain has no $1: add it (rustup component add $1)"
  need_packages "$2"
}
