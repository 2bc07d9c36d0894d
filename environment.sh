#!/bin/sh
# Make or refresh .venv for `make lab` (sh environment.sh lab) and `make test` (sh environment.sh test).
# Says in one sentence what is missing. PYTHON=/path/to/python3.12 chooses the interpreter.
set -u
cd "$(dirname "$0")" || exit 1
what=${1:-lab}
venv=.venv
need_mb=4096

say() { printf 'fmlab: %s\n' "$*"; }
fail() { printf 'fmlab: %s\n' "$*" >&2; exit 1; }

version_of() { "$1" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null; }
fits() { case "$1" in 3.11.* | 3.12.* | 3.13.*) return 0 ;; *) return 1 ;; esac; }

# The Python that was named, else the first of 3.11 to 3.13: the machine's own, then by version.
find_python() {
    seen=
    if [ -n "${PYTHON:-}" ]; then  # the one that was named, or none
        python=$PYTHON
        version=$(version_of "$python") || fail "PYTHON=$PYTHON is no Python that runs: name another one, or leave it out."
        fits "$version" || fail "PYTHON=$PYTHON is $version, and fmlab needs 3.11, 3.12 or 3.13: name another one, or leave it out."
        return 0
    fi
    for candidate in python3 python3.12 python3.13 python3.11 python; do
        version=$(version_of "$candidate") || continue
        [ -n "$version" ] || continue
        if fits "$version"; then
            python=$candidate
            return 0
        fi
        seen="$seen $candidate is $version;"
    done
    if [ -n "$seen" ]; then
        fail "needs Python 3.11, 3.12 or 3.13, but$seen install one of these, or name it: make $what PYTHON=/path/to/python3.12"
    fi
    fail "needs Python 3.11, 3.12 or 3.13, and there is no Python here: install it from your system's packages, then run make $what again."
}

# What the environment was made from; when this stays the same there is nothing to do.
stamp() { { cat constraints.txt pyproject.toml && pwd && version_of "$venv/bin/python"; } | cksum; }
ready() { [ -x "$venv/bin/python" ] && [ -f "$venv/.fmlab-$1" ] && [ "$(cat "$venv/.fmlab-$1")" = "$(stamp)" ]; }

check_disk() {
    free_mb=$(df -Pk . | awk 'NR == 2 { print int($4 / 1024) }')
    [ "${free_mb:-0}" -ge "$need_mb" ] ||
        fail "needs $need_mb MB of free disk for its packages, and there are ${free_mb:-0} MB here: make room, then run make $what again."
}

make_venv() {
    if [ -x "$venv/bin/python" ] && fits "$(version_of "$venv/bin/python")"; then return 0; fi
    find_python
    "$python" -c 'import venv, ensurepip' 2>/dev/null ||
        fail "the Python at $(command -v "$python") has no venv module: install it (Debian, Ubuntu: sudo apt-get install python3-venv), then run make $what again."
    say "making $venv with Python $version"
    "$python" -m venv --clear "$venv" || fail "cannot make $venv in $(pwd): is the folder writable?"
}

install() {
    log=$venv/install.log
    say "installing the packages; the first time takes some minutes (details in $log)"
    : >"$log"
    if "$venv/bin/python" -m pip install --disable-pip-version-check --retries 3 --log "$log" -c constraints.txt -e "$1"; then
        return 0
    fi
    if grep -q 'No space left on device' "$log"; then
        fail "the disk is full: make room, then run make $what again; what was downloaded is kept."
    fi
    if grep -qE 'NewConnectionError|Name or service not known|Temporary failure in name resolution|nodename nor servname|Network is unreachable|ConnectTimeout|ReadTimeout|Connection refused|Connection reset' "$log"; then
        fail "no network: pip could not reach its package index. Connect (behind a proxy: set HTTPS_PROXY), then run make $what again."
    fi
    fail "pip could not install the packages; the reason stands above and in $log."
}

case "$what" in
    lab) ready lab && exit 0; ready test && exit 0; extras=. ;;
    test) ready test && exit 0; extras='.[test]' ;;
    *) fail "environment.sh knows lab and test, not '$what'." ;;
esac
make_venv
[ -f "$venv/.fmlab-lab" ] || [ -f "$venv/.fmlab-test" ] || check_disk
rm -f "$venv/.fmlab-$what"
install "$extras"
stamp >"$venv/.fmlab-$what"
say "ready"
