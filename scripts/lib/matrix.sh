# shellcheck shell=bash
# The tests on a real Engine with several versions of Engine and compose. Needs the other files.

# The suites of Debian that hold them. The newest is whatever sid has: 28 when this was written.
declare -A MATRIX_SUITES=([20.10]=bookworm [26]=trixie [28]=sid)
declare -A MATRIX_COMPOSE=([2.20]=2.20.3 [2.29]=2.29.7 [2.40]=2.40.3)
# shellcheck disable=SC2034 # For scripts/test.
# Each Engine and each compose, and the corners where one is much older than the other.
MATRIX=(20.10/2.20 20.10/2.29 20.10/2.40 26/2.40 28/2.20 28/2.40)

matrix_known() { [ -n "${MATRIX_SUITES[${1%/*}]:-}" ] && [ -n "${MATRIX_COMPOSE[${1#*/}]:-}" ] && [ "$1" != "${1%/*}" ]; }

# matrix_ready COMBINATION…: fetches and builds what they need, in the machine's own Engine or one
# of this script's time. MATRIX_IMAGES is then an archive of the images.
matrix_ready() {
    local combination program
    [ "$(id -u)" = 0 ] || { note "only root can start Engines"; return 1; }
    for program in ip unshare; do have "$program" || { note "$program is missing (Debian: iproute2, util-linux)"; return 1; }; done
    for combination in "$@"; do
        compose_ready "${MATRIX_COMPOSE[${combination#*/}]}" || return 1
        engine_program "${MATRIX_SUITES[${combination%/*}]}" >/dev/null || return 1
    done
    engine_ready && real_tests_ready || return 1
    MATRIX_IMAGES=$CACHE/tmp/images-$$.tar
    mkdir -p "${MATRIX_IMAGES%/*}"
    undo_later rm -f "$MATRIX_IMAGES"
    docker save -o "$MATRIX_IMAGES" "${REAL_TEST_IMAGES[@]}"
}

# matrix_cell COMBINATION [TEST…]: runs those tests, else all that matter, with that Engine and that compose. All of it is
# in a network, a process tree and mounts of its own: no rule, bridge or port meets those of the
# machine, and when the first process ends, however it ends, nothing of it is left.
matrix_cell() {
    local base status child
    base=$(mktemp -d /tmp/compose-scale-engine.XXXXXX)
    unshare --net --pid --mount --mount-proc --fork --kill-child \
        bash "$ROOT/scripts/lib/matrix-cell" "$base" "$MATRIX_IMAGES" "$@" &
    child=$!
    undo_later matrix_end "$child" "$base"
    wait "$child"
    status=$?
    matrix_end "$child" "$base"
    unset 'UNDO[-1]'
    return $status
}

# /sys shows the network interfaces of the machine until it is mounted anew; what is mounted in it stays.
# sys_of_the_cell FOLDER: a place for it meanwhile.
sys_of_the_cell() {
    local part
    mkdir -p "$1/sys" && mount --rbind /sys "$1/sys" && mount -t sysfs sysfs /sys || return 1
    for part in fs/cgroup kernel/security; do
        ! mountpoint -q "$1/sys/$part" || mount --rbind "$1/sys/$part" "/sys/$part" || return 1
    done
    umount -l "$1/sys" && rmdir "$1/sys"
}

matrix_end() {
    local i container groups=()
    end_process "$1"
    # What is left of containers that were killed with it.
    for container in "$2"/data/containers/*; do
        [ ! -d "$container" ] || groups+=(-o -name "${container##*/}")
    done
    [ ${#groups[@]} = 0 ] || find /sys/fs/cgroup -depth -type d \( "${groups[@]:1}" \) -exec rmdir {} + 2>/dev/null
    # The last of its processes may take a moment to be gone.
    for ((i = 0; i < 50; i++)); do
        rm -rf "$2" 2>/dev/null
        [ -e "$2" ] || break
        sleep 0.1
    done
}
