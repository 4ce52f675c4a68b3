# SPDX-License-Identifier: BSL-1.0
# shellcheck shell=sh
#
# Shared by samples/run, tests/run and .ci/run, which source it from the repository's root. Installs
# the Debian packages that are missing, and no others. A package is written NAME, or NAME:COMMAND when
# having COMMAND in the PATH is as good.

say() { printf '==> %s\n' "$*"; }
fail() {
    printf '==> error: %s\n' "$*" >&2
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

package_present() {
    case $1 in
    *:*) have "${1#*:}" && return 0 ;;
    esac
    have dpkg-query || return 1
    [ "$(dpkg-query -W -f='${Status}' "${1%%:*}" 2>/dev/null)" = "install ok installed" ]
}

# missing_packages PACKAGE...: prints the names of those that are not there, in one line.
missing_packages() {
    missing_list=
    for missing_item in "$@"; do
        package_present "$missing_item" || missing_list="$missing_list ${missing_item%%:*}"
    done
    printf '%s' "${missing_list# }"
}

# as_root COMMAND...: runs it as root; can_root says whether that is possible without a person, or
# with one at the terminal.
can_root() {
    [ "$(id -u)" -eq 0 ] && return 0
    have sudo || return 1
    [ -t 0 ] || sudo -n true 2>/dev/null
}
as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

apt_updated=
apt_install() { # $@: package names
    if [ -z "$apt_updated" ]; then
        say "apt-get update"
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq update </dev/null ||
            say "apt-get update failed: trying with the lists at hand"
        apt_updated=yes
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends \
        -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 install "$@" </dev/null
}

# need PACKAGE...: all of them are there afterwards, or the script ends.
need() {
    need_list=$(missing_packages "$@")
    [ -n "$need_list" ] || return 0
    # Word splitting of the list is meant.
    # shellcheck disable=SC2086
    if ! have apt-get; then
        fail "missing: $need_list (names of Debian packages; no apt-get here to install them with)"
    elif ! can_root; then
        fail "missing packages, and neither root nor sudo to install them. Run: apt-get install $need_list"
    else
        say "installing: $need_list"
        apt_install $need_list || fail "apt-get could not install: $need_list"
    fi
}

# want PACKAGE...: installs what it can, says what it cannot, and goes on.
want() {
    want_list=$(missing_packages "$@")
    [ -n "$want_list" ] || return 0
    if ! have apt-get || ! can_root; then
        say "going on without: $want_list"
        return 0
    fi
    say "installing (optional): $want_list"
    # shellcheck disable=SC2086
    apt_install $want_list && return 0
    for want_item in $want_list; do # one that is unknown here must not keep the others out
        apt_install "$want_item" || say "going on without: $want_item"
    done
}

# configure PRESET [cmake arguments]: with Ninja, as the preset says, or with make where there is none.
configure() {
    configure_preset=$1
    shift
    if have ninja || have ninja-build; then
        say "configuring: cmake --preset $configure_preset $*"
        cmake --preset "$configure_preset" "$@"
    else
        say "configuring: cmake --preset $configure_preset -G 'Unix Makefiles' $*"
        cmake --preset "$configure_preset" -G "Unix Makefiles" "$@"
    fi
}

# build PRESET [cmake --build arguments]: with as many jobs as there are cores.
build() {
    build_preset=$1
    shift
    say "building: cmake --build build/$build_preset $*"
    cmake --build "build/$build_preset" --parallel "$(getconf _NPROCESSORS_ONLN)" "$@"
}

packages_build="g++:g++ cmake:cmake liburing-dev"
packages_build_optional="ninja-build:ninja pkg-config:pkg-config libmimalloc-dev"
packages_clang="clang-19:clang++-19 libclang-rt-19-dev"
packages_test="doctest-dev python3:python3"
packages_test_optional="netcat-openbsd socat iperf3 strace procps valgrind libseccomp-dev redis-tools pv patch iproute2:ss dnsmasq-base:dnsmasq"
packages_bench_optional="libasio-dev libuv1-dev libevent-dev libtbb-dev golang-go:go librust-tokio-dev cargo:cargo rustc:rustc"
