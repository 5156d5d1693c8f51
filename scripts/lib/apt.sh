# shellcheck shell=bash
# Packages. Some are installed on the machine (compilers, libraries); others are only looked at, or
# unpacked into target/: those come through a private view, so that the machine's apt sources stay
# as they are. Mirrors are always the machine's own.

as_root() {
  if ((EUID == 0)); then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo -- "$@"
  else
    die "needs root (and there is no sudo) for: $*"
  fi
}

installed() { dpkg-query -W -f='${db:Status-Status}\n' "$1" 2>/dev/null | grep -qx installed; }

# need_packages NAME...: installs those that are missing, and nothing that they merely recommend.
need_packages() {
  local name missing=()
  for name in "$@"; do
    installed "$name" || missing+=("$name")
  done
  ((${#missing[@]} == 0)) || locked apt install_now "${missing[@]}"
}

install_now() {
  say "installing $*"
  local fresh=0
  if ! have_candidates "$@"; then
    update_lists
    fresh=1
  fi
  install_try "$@" && return
  # A package list from last month names versions that the mirror has dropped since.
  if ((!fresh)); then
    update_lists
    install_try "$@" && return
  fi
  tail -n 30 "$TARGET/log/apt.log" >&2
  die "apt-get could not install: $*. See above; if it wants to remove something, decide that by hand"
}

install_try() {
  mkdir -p "$TARGET/log"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -y --no-install-recommends \
    --no-remove install "$@" >"$TARGET/log/apt.log" 2>&1 </dev/null
}

have_candidates() {
  local name
  for name in "$@"; do
    apt-cache policy "$name" 2>/dev/null | grep -q 'Candidate: [0-9]' || return 1
  done
}

update_lists() {
  say "apt-get update"
  as_root apt-get -qq -o DPkg::Lock::Timeout=300 update >&2 || die "apt-get update failed: see above"
}

# The machine's own sources, a line each: URI RELEASE COMPONENT. Asked of apt, which reads both of
# its formats; it answers once there are lists.
machine_sources() {
  # shellcheck disable=SC2016 # apt fills these in
  local ask=(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages') out
  out=$("${ask[@]}" | sort -u)
  if [[ -z $out ]]; then
    update_lists
    out=$("${ask[@]}" | sort -u)
  fi
  [[ -n $out ]] || die "apt has no sources on this machine; look at /etc/apt/sources.list.d"
  printf '%s\n' "$out"
}

machine_codename() {
  # shellcheck source=/dev/null
  (. /etc/os-release && printf '%s\n' "${VERSION_CODENAME:-unknown}")
}

# apt_view RELEASE: a private view of one release of Debian, in target/apt/RELEASE. The machine's
# own release is seen with its updates and security fixes.
apt_view() {
  local release=$1 dir=$TARGET/apt/$1 own
  own=$(machine_codename)
  mkdir -p "$dir"/{state,lists/partial,cache/archives/partial}
  : >"$dir/status"
  machine_sources | while read -r uri suite component; do
    if [[ $release == "$own" && $suite == "$own"* ]]; then
      printf 'deb %s %s %s\ndeb-src %s %s %s\n' "$uri" "$suite" "$component" "$uri" "$suite" "$component"
    elif [[ $suite == "$own" && $component == main ]]; then
      printf 'deb %s %s main\ndeb-src %s %s main\n' "$uri" "$release" "$uri" "$release"
    fi
  done >"$dir/sources.list"
  [[ -s $dir/sources.list ]] || die "none of this machine's apt sources is for $own: no mirror to take $release from"
  in_view "$release" apt-get -qq update
}

# in_view RELEASE COMMAND...: an apt command that sees only that release, and nothing as installed.
in_view() {
  local dir=$TARGET/apt/$1
  shift
  cat >"$dir/apt.conf" <<EOF
Dir::Etc::SourceList "$dir/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State "$dir/state";
Dir::State::Lists "$dir/lists";
Dir::State::Status "$dir/status";
Dir::Cache "$dir/cache";
Debug::NoLocking "true";
APT::Sandbox::User "";
APT::Get::Assume-Yes "true";
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::Check-Valid-Until "false";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
EOF
  APT_CONFIG=$dir/apt.conf "$@"
}

# unpack RELEASE DIR NAME...: the packages' files into DIR; nothing of theirs is run.
unpack() {
  local release=$1 dir=$2 debs
  shift 2
  debs=$(mktemp -d "$TARGET/apt/debs.XXXXXX")
  (cd "$debs" && in_view "$release" apt-get download "$@")
  unpack_debs "$debs" "$dir"
}

# unpack_all RELEASE DIR NAME...: the same, and all that they depend on.
unpack_all() {
  local release=$1 dir=$2 debs
  shift 2
  debs=$(mktemp -d "$TARGET/apt/debs.XXXXXX")
  mkdir "$debs/partial"
  in_view "$release" apt-get -o "Dir::Cache::Archives=$debs" --download-only install "$@"
  unpack_debs "$debs" "$dir"
}

unpack_debs() {
  local deb
  for deb in "$1"/*.deb; do
    dpkg-deb --extract "$deb" "$2"
  done
  rm -rf "$1"
}
