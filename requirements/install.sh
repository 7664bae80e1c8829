#!/bin/sh
# Brings this checkout to where it can run, and does nothing when it is there already.
#
#   install.sh run     .venv with what the service needs
#   install.sh test    .venv with what the tests and checks need as well
#   install.sh tools   the programs that the tests use: ffmpeg, ffprobe, a Chromium
#
# Where packages come from is left to pip's and apt's own configuration; what they are is fixed by the
# hashes in run.txt and test.txt.
set -eu
cd "$(dirname "$0")/.."

main() {
    case "${1-}" in
        run | test) install_packages "$1" ;;
        tools) install_tools ;;
        *) fail "usage: requirements/install.sh run|test|tools" ;;
    esac
}

fail() {
    for line; do echo "clipwire: $line" >&2; done
    exit 1
}

say() { echo "clipwire: $*" >&2; }

# --- Python packages ---------------------------------------------------------------------------------

# .venv/.made says by which interpreter and for which folder it was made (a virtual environment that was
# moved or copied, or whose Python was upgraded, only half works); .venv/.run and .venv/.test say which
# lock is installed. Each is written when its work is done: what was interrupted is done again.
install_packages() {
    lock="requirements/$1.txt"
    if is_current ".venv/.$1"; then return; fi
    if ! is_current; then make_venv; fi
    say "installing $lock, this takes a minute ..."
    rm -f .venv/.run .venv/.test
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input \
        --require-hashes --requirement "$lock"
    digest "$lock" | put ".venv/.$1"
    # The tests' packages are the service's and some more, in the same versions.
    if [ "$1" = test ]; then digest requirements/run.txt | put .venv/.run; fi
}

# Without an argument: whether the virtual environment itself is.
is_current() {
    [ -f .venv/.made ] || return 1
    if [ $# -eq 0 ]; then [ "$(interpreter)" = "$(cat .venv/.made)" ]; return; fi
    [ -f "$1" ] && [ "$(interpreter "$lock")" = "$(cat .venv/.made "$1")" ]
}

# Where the virtual environment is and what runs in it; then, of a file that is named, its digest.
interpreter() {
    .venv/bin/python -I -S -c '
import hashlib, os, sys
print(os.getcwd(), os.path.realpath(sys.executable), sys.version.split()[0])
for name in sys.argv[1:]:
    print(hashlib.sha256(open(name, "rb").read()).hexdigest())' "$@" 2>/dev/null || :
}

digest() { interpreter "$1" | tail -n 1; }

put() { cat >"$1.new" && mv "$1.new" "$1"; }

make_venv() {
    python=$(find_python)
    "$python" -c 'import ensurepip, venv' 2>/dev/null || install_venv_module
    say "making .venv with $("$python" --version) ..."
    rm -rf .venv
    "$python" -m venv .venv
    interpreter | put .venv/.made
}

find_python() {
    for candidate in python3 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    fail "Python 3.11 or newer is needed and there is none on the PATH." \
        "Debian 12, Ubuntu 24.04 and newer have it: apt-get install python3 python3-venv"
}

install_venv_module() {
    apt_install "$python-venv" ||
        fail "$python cannot make virtual environments: its module venv is not installed." \
            "Please install it, then run this again: apt-get install $python-venv"
}

# --- Programs ----------------------------------------------------------------------------------------

install_tools() {
    has ffmpeg && has ffprobe || apt_install ffmpeg ||
        fail "the tests need ffmpeg and ffprobe (the service alone does not)." \
            "Please install them, then run this again: apt-get install ffmpeg"
    has_chromium || { apt_install chromium && has_chromium; } ||
        fail "the page's tests need Chromium or Google Chrome on the PATH." \
            "Please install one, then run this again: apt-get install chromium"
}

has() { command -v "$1" >/dev/null 2>&1; }

has_chromium() { has chromium || has chromium-browser || has google-chrome || has google-chrome-stable; }

# Only as root, who would do the same; anybody else is told what to install.
apt_install() {
    [ "$(id -u)" -eq 0 ] && has apt-get || return 1
    say "installing the system's package $1 ..."
    apt "$1" || { apt-get -qq update >&2 && apt "$1"; }
}

apt() {
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$1" </dev/null >&2
}

main "$@"
