# shellcheck shell=bash
# What the tests on a real Engine need. Needs the other files of this folder.

# Every project, container, network and volume that a test of this run makes begins
# with this, so that two runs on one machine leave each other's alone.
TEST_PREFIX=cst-$$-

# Fetches and builds it all.
real_tests_ready() {
    local image
    compose_ready || return 1
    for image in "$WEB_IMAGE" "$NGINX_NEW_IMAGE" "$NGINX_OLD_IMAGE" "$BUSYBOX_IMAGE"; do
        image_ready "$image" || return 1
    done
}

# Prints how the tests find it, to be read by a shell.
real_tests_environment() {
    printf 'export %s=%q\n' \
        COMPOSE_SCALE_TEST_REAL 1 \
        COMPOSE_SCALE_TEST_COMPOSE "$COMPOSE_PLUGIN" \
        COMPOSE_SCALE_TEST_LOAD "$LOAD_PROGRAM" \
        COMPOSE_SCALE_TEST_WEB_IMAGE "$WEB_IMAGE" \
        COMPOSE_SCALE_TEST_NGINX_NEW "$NGINX_NEW_IMAGE" \
        COMPOSE_SCALE_TEST_NGINX_OLD "$NGINX_OLD_IMAGE" \
        COMPOSE_SCALE_TEST_BUSYBOX "$BUSYBOX_IMAGE" \
        COMPOSE_SCALE_TEST_DOCKERD "${DOCKERD:-dockerd}" \
        COMPOSE_SCALE_TEST_PREFIX "$TEST_PREFIX" \
        DOCKER_CONFIG "$DOCKER_CONFIG"
    [ -z "${DOCKER_HOST:-}" ] || printf 'export DOCKER_HOST=%q\n' "$DOCKER_HOST"
}

# Removes what tests that were cut short left.
remove_test_leftovers() {
    local kind names
    engine_answers || return 0
    names=$(docker ps -a --filter "name=^/$TEST_PREFIX" --format '{{.Names}}')
    # shellcheck disable=SC2086 # One word per name.
    [ -z "$names" ] || docker rm -f -v $names >/dev/null 2>&1 || true
    for kind in network volume; do
        names=$(docker "$kind" ls --filter "name=^$TEST_PREFIX" --format '{{.Name}}')
        # shellcheck disable=SC2086
        [ -z "$names" ] || docker "$kind" rm $names >/dev/null 2>&1 || true
    done
}
