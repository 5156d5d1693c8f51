# shellcheck shell=bash
# The nginx module, one for each version of nginx: nginx refuses a module made for another.

# For bindgen, and for the crates that build C or look for LuaJIT.
MODULE_PACKAGES=(gcc libc6-dev pkg-config libclang-14-dev libluajit2-5.1-dev)

# build_module NAME: target/module/NAME/ngx_http_nffi_module.so, for debian-12 or debian-13.
build_module() {
  local name=$1
  nginx_dir "$name"
  need_rust
  need_packages "${MODULE_PACKAGES[@]}"
  say "module for $name: cargo build"
  locked "module-$name" module_now "$name"
}

module_now() {
  local name=$1 dir=$TARGET/module/$1 build
  build=$(module_target_dir "$name")
  NGINX_SOURCE_DIR=$TARGET/nginx/$name/src NGINX_BUILD_DIR=$TARGET/nginx/$name/src/objs CARGO_TARGET_DIR=$build \
    cargo build --manifest-path "$ROOT/Cargo.toml" --release --locked --package ngx_http_nffi_module
  mkdir -p "$dir"
  # In one step: an nginx may have the old file mapped.
  cmp -s "$build/release/libngx_http_nffi_module.so" "$dir/ngx_http_nffi_module.so" && return
  cp "$build/release/libngx_http_nffi_module.so" "$dir/ngx_http_nffi_module.so.new"
  mv "$dir/ngx_http_nffi_module.so.new" "$dir/ngx_http_nffi_module.so"
}

# The first nginx shares target/ with plain cargo. Another has a folder of its own: the headers are part
# of what cargo builds from, and going to and fro would build everything anew.
module_target_dir() {
  if [[ $1 == debian-12 ]]; then echo "$TARGET"; else echo "$TARGET/module-build/$1"; fi
}

# The C libraries that t/ loads.
build_fixtures() {
  need_packages gcc libc6-dev python3
  locked fixtures "$ROOT/t/fixtures/build.sh" "$TARGET/fixtures"
}
