# shellcheck shell=bash
# Several Engines for the tests, so that tests which mostly wait run beside each other. Needs the
# other files of this folder.

# As many as the group `lane` in .config/nextest.toml has threads. Two cores carry three: each test
# waits more than it works.
LANES=3

# lanes_possible: whether this machine lets us start them.
lanes_possible() {
    local program
    [ "$(id -u)" = 0 ] || return 1
    for program in ip unshare nsenter pgrep dockerd; do have "$program" || return 1; done
}

# lanes_ready: starts that many Engines, each with a network, a process tree and mounts of its own, and
# with the images of the machine's Engine. Exports where they are, for scripts/lib/in-lane.
lanes_ready() {
    local images i base child bases=() children=() engines=
    images=$CACHE/tmp/lanes-$$.tar
    mkdir -p "${images%/*}"
    docker save -o "$images" "${REAL_TEST_IMAGES[@]}" || return 1
    undo_later rm -f "$images"
    for ((i = 0; i < LANES; i++)); do
        base=$(mktemp -d /tmp/compose-scale-engine.XXXXXX) # Short: a socket's path has 107 bytes at most.
        unshare --net --pid --mount --mount-proc --fork --kill-child \
            bash "$ROOT/scripts/lib/lane" "$base" "$images" >"$base/lane.log" 2>&1 &
        child=$!
        undo_later matrix_end "$child" "$base"
        bases+=("$base") children+=("$child")
    done
    for ((i = 0; i < LANES; i++)); do
        lane_ready "${bases[i]}" "${children[i]}" || return 1
        engines+="${engines:+ }$(pgrep -P "${children[i]}"):${bases[i]}"
    done
    export COMPOSE_SCALE_TEST_ENGINES=$engines
}

# lane_ready FOLDER PID: waits for its Engine.
lane_ready() {
    local i
    for ((i = 0; i < 600; i++)); do
        [ ! -e "$1/ready" ] || return 0
        kill -0 "$2" 2>/dev/null || break
        sleep 0.1
    done
    note "an Engine for the tests did not start:"
    cat "$1/lane.log" >&2
    return 1
}
