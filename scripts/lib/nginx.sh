# shellcheck shell=bash
# The nginxes that this is built for and tested on, unpacked into target/nginx/NAME. None of them is
# installed: /etc/nginx and the system's own service do not know of them.
#
#   debian-12        nginx 1.22.1, run with the machine's own C library
#   debian-13        nginx 1.26.3, run with Debian 13's, through its own dynamic linker
#   patched-VERSION  the same two, built with patches/ by scripts/patched-nginx
#
# Each has `nginx`, to be run, and the first two `src`, the configured headers.

nginx_release() {
  case $1 in
    debian-12 | patched-1.22.1) printf 'bookworm\n' ;;
    debian-13 | patched-1.26.3) printf 'trixie\n' ;;
    *) die "no such nginx: $1 (there are debian-12, debian-13, patched-1.22.1, patched-1.26.3)" ;;
  esac
}

# The unpacked Debian release that an nginx takes its Lua, its ndk module and its libraries from.
nginx_base() {
  case $1 in
    *-1.22.1) printf 'debian-12\n' ;;
    *-1.26.3) printf 'debian-13\n' ;;
    *) printf '%s\n' "$1" ;;
  esac
}

# What nginx's configure, and a build of nginx, look for.
NGINX_BUILD_PACKAGES=(gcc libc6-dev make libpcre2-dev libssl-dev zlib1g-dev libcrypt-dev)

# nginx_dir NAME: afterwards target/nginx/NAME is there.
nginx_dir() {
  local name=$1
  case $name in
    debian-12)
      [[ $(machine_codename) == bookworm ]] || die "debian-12's nginx runs on Debian 12's libraries; this is $(machine_codename)"
      need_packages libpcre2-8-0 libpcre3 libssl3 zlib1g libcrypt1 libluajit2-5.1-2 "${NGINX_BUILD_PACKAGES[@]}"
      ;;
    debian-13) need_packages "${NGINX_BUILD_PACKAGES[@]}" ;;
    *) die "nginx_dir: $name is none of Debian's (patched ones: scripts/patched-nginx)" ;;
  esac
  once "$TARGET/nginx/$name" "$(recipe nginx_unpack nginx_unpack_debian_12 nginx_unpack_debian_13 nginx_headers nginx_linker)" \
    nginx_unpack "$name"
}

nginx_unpack() {
  local name=$1 dir=$TARGET/nginx/$1
  step "nginx of $name: reading its release's package lists" apt_view "$(nginx_release "$name")"
  step "nginx of $name: unpacking" "nginx_unpack_${name/-/_}" "$dir"
  step "nginx of $name: configuring its headers" nginx_headers "$dir"
  say "nginx of $name: $("$dir/nginx" -v 2>&1)"
}

nginx_unpack_debian_12() {
  local dir=$1
  unpack bookworm "$dir" nginx nginx-common nginx-dev libnginx-mod-http-ndk libnginx-mod-http-lua lua-resty-core \
    lua-resty-lrucache
  ln -s usr/sbin/nginx "$dir/nginx"
}

nginx_unpack_debian_13() {
  local dir=$1
  unpack_all trixie "$dir" nginx libnginx-mod-http-lua
  unpack trixie "$dir" nginx-dev
  nginx_linker debian-13 ../debian-13/usr/sbin/nginx >"$dir/nginx"
  chmod +x "$dir/nginx"
}

# nginx_linker BASE BINARY: a script that runs BINARY with BASE's C library; both are below target/nginx.
nginx_linker() {
  local base=$1 binary=$2 linker
  linker=$(cd "$TARGET/nginx/$base" && echo usr/lib/*-linux-gnu/ld-linux-*.so.?)
  [[ -x $TARGET/nginx/$base/$linker ]] || die "no dynamic linker in $TARGET/nginx/$base/usr/lib"
  cat <<EOF
#!/bin/sh
# nginx of $base, on its own release's libraries.
here=\$(cd "\${0%/*}" && pwd -P)
base=\$here/../$base
exec "\$base/$linker" --argv0 nginx \\
  --library-path "\$base/${linker%/*}\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}" "\$here/$binary" "\$@"
EOF
}

# The headers of the package nginx-dev lack what configure writes, objs/: written here, with the flags
# that Debian gave its nginx, so that a module's signature fits.
nginx_headers() {
  local dir=$1
  cp -r "$dir/usr/share/nginx/src" "$dir/src"
  cd "$dir/src" || return
  local NGX_CONF_FLAGS=()
  # shellcheck source=/dev/null
  . ./conf_flags
  ./configure "${NGX_CONF_FLAGS[@]}" --with-cc-opt='-g -O2 -fPIC'
}

# nginx_env NAME: what it takes to start that nginx with Lua and with our module, as variables.
nginx_env() {
  local name=$1 base
  base=$(nginx_base "$name")
  # shellcheck disable=SC2034 # for who calls this
  {
    NGINX_BIN=$TARGET/nginx/$name/nginx
    NGINX_LUA_MODULES="$TARGET/nginx/$base/usr/lib/nginx/modules/ndk_http_module.so"
    NGINX_LUA_MODULES+=" $TARGET/nginx/$base/usr/lib/nginx/modules/ngx_http_lua_module.so"
    NGINX_NFFI_MODULE=$TARGET/module/$base/ngx_http_nffi_module.so
    NGINX_LUA_PATH="$ROOT/lua/?.lua;$TARGET/nginx/$base/usr/share/lua/5.1/?.lua;;"
  }
}
