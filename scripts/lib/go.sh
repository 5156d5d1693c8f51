# shellcheck shell=bash
# A Go toolchain: the one on PATH or in /usr/local/go where it is new enough, else Debian's of backports, else Debian's
# older one, which fetches a new one through the Go module proxy. Source it after lib.sh.

# The oldest Go that builds the module in GO_MODULE (the SDK, where nobody says otherwise), as its go.mod says.
go_wanted() { sed -n 's/^go \([0-9.]*\)$/\1/p' "${GO_MODULE:-$ROOT/runtimes/go}/go.mod"; }

# What is fetched where there is none.
GO_FETCHED=go1.27.4

go_version_of() { GOTOOLCHAIN=local "$1" env GOVERSION 2>/dev/null | sed 's/^go//'; }

go_is_new_enough() {
  local found
  found=$(go_version_of "$1")
  [[ -n $found && $(printf '%s\n' "$(go_wanted)" "$found" | sort -V | head -n 1) == "$(go_wanted)" ]]
}

# have_go: puts a Go that is new enough first on PATH; fails where there is none.
have_go() {
  local go
  for go in "$(command -v go || true)" /usr/local/go/bin/go /usr/lib/go-*/bin/go "$TARGET"/tools/go/bin/go; do
    if [[ -x $go ]] && go_is_new_enough "$go"; then
      PATH="$(dirname "$go"):$PATH"
      export PATH GOTOOLCHAIN=local GOFLAGS="-buildvcs=false ${GOFLAGS:-}"
      return
    fi
  done
  return 1
}

# need_go: afterwards `go` is one that can build the module. Where none can be had, the part is skipped.
need_go() {
  need_packages gcc libc6-dev
  have_go && return
  say "no Go $(go_wanted) or later on this machine: looking for one"
  local name
  name=$(apt-cache search --names-only '^golang-1\.[0-9]+-go$' | cut -d' ' -f1 | sort -V | tail -n 1)
  if [[ -n $name && $(printf '%s\n' "golang-$(go_wanted)-go" "$name" | sort -V | tail -n 1) == "$name" ]]; then
    need_packages "$name"
  else
    need_packages golang-go ca-certificates
    once "$TARGET/tools/go" "$GO_FETCHED" fetch_go
  fi
  have_go || skip_go
}

# Ends the script with 77, which means: left out, since the machine cannot have it.
skip_go() {
  local why
  why="Go $(go_wanted) or later is needed: install golang-go of bookworm-backports, or Go of https://go.dev/dl in /usr/local/go"
  if [[ -n ${NFFI_REPORT:-} ]]; then report "skipped: $why"; fi
  say "$why"
  exit 77
}

# A toolchain is a module too, golang.org/toolchain: any Go downloads it, and checks its sum.
fetch_go() {
  local arch cache module=golang.org/toolchain
  arch=$(dpkg --print-architecture)
  cache=$(mktemp -d "$TARGET/tools/go.XXXXXX")
  say "fetching $GO_FETCHED"
  if GOMODCACHE=$cache GOFLAGS=-modcacherw GOTOOLCHAIN=local go mod download "$module@v0.0.1-$GO_FETCHED.linux-$arch"; then
    rm -rf "$TARGET/tools/go"
    mv "$cache/$module@v0.0.1-$GO_FETCHED.linux-$arch" "$TARGET/tools/go"
    # Archives of modules keep no modes.
    chmod +x "$TARGET"/tools/go/bin/* "$TARGET"/tools/go/pkg/tool/*/*
  else
    say "the Go module proxy does not answer"
  fi
  rm -rf "$cache"
}

# build_go DIR LIBRARY: the package in DIR as a runtime. In one step: a worker may have the old file mapped.
build_go() {
  (cd "$1" && CGO_ENABLED=1 go build -buildmode=c-shared -o "$2.new" .)
  rm -f "${2%.so}.h" "$2.h"
  mv "$2.new" "$2"
}
