# shellcheck shell=bash
# Shared by the scripts: folders, messages, and what is undone at the end.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# Everything the scripts fetch or build beside target/ lives here.
CACHE=${COMPOSE_SCALE_CACHE:-$ROOT/.cache}
mkdir -p "$CACHE"

note() { printf '%s\n' "$*" >&2; }
die() {
    note "error: $*"
    exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

UNDO=()
# undo_later COMMAND [ARGUMENT…]: run when the script ends, the last one first.
undo_later() { UNDO+=("$(printf '%q ' "$@")"); }

# Not to be cut short by a second Ctrl-C.
run_undo() {
    local index
    trap '' INT TERM
    trap - EXIT
    for ((index = ${#UNDO[@]} - 1; index >= 0; index--)); do
        eval "${UNDO[index]}" || true
    done
    UNDO=()
}
forget_undo() { UNDO=(); }
# shellcheck disable=SC2317 # Called by a trap.
finish() {
    local status=$?
    run_undo
    exit $status
}
# Whatever ends the script, what is to be undone is undone.
undo_at_exit() {
    trap finish EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
}

# end_process PID: asks, waits at most 15 s, then forces. For our own children only.
end_process() {
    local pid=$1 i
    kill "$pid" 2>/dev/null || return 0
    for ((i = 0; i < 150; i++)); do
        # A zombie still answers to `kill -0`: `wait` below takes it.
        case $(ps -o stat= -p "$pid" 2>/dev/null) in '' | Z*) break ;; esac
        sleep 0.1
    done
    kill -9 "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
}

# run_logged LOG COMMAND…: shows the output only where the command fails.
run_logged() {
    local log=$1
    shift
    if ! "$@" >"$log" 2>&1; then
        cat "$log" >&2
        return 1
    fi
}

# need_rust: cargo of at least the version that Cargo.toml names, and a linker.
need_rust() {
    local wanted have_version
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$ROOT/Cargo.toml")
    have cargo || [ ! -x "$HOME/.cargo/bin/cargo" ] || PATH=$HOME/.cargo/bin:$PATH
    have cargo || die "cargo is missing: install Rust $wanted or newer (https://rustup.rs)"
    have_version=$(rustc --version | cut -d' ' -f2)
    if [ "$(printf '%s\n' "$wanted" "${have_version%%-*}" | sort -V | head -n 1)" != "$wanted" ]; then
        die "Rust $have_version is too old: $wanted or newer is needed (rustup update stable)"
    fi
    if ! have cc; then
        if [ "$(id -u)" = 0 ] && have apt-get; then
            note "no C linker: installing gcc and libc6-dev"
            apt-get -qq update && apt-get -qq install --no-install-recommends -y gcc libc6-dev >/dev/null
        else
            die "a C linker is missing: install gcc and the C library's headers (Debian: apt-get install gcc libc6-dev)"
        fi
    fi
}

# Prints the kind of machine that rustc builds for.
rust_host() { rustc -vV | sed -n 's/^host: //p'; }

# free_port PREFERRED: that one, or the next one that nothing listens on.
free_port() {
    local port=$1
    while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done
    printf '%s\n' "$port"
}
