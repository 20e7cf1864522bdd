# shellcheck shell=bash
# What the tests on a real Engine need. Needs the other files of this folder.

# Every project, container, network and volume that a test of this run makes begins
# with this, so that two runs on one machine leave each other's alone.
TEST_PREFIX=cst-$$-

REAL_TEST_IMAGES=("$WEB_IMAGE" "$NGINX_NEW_IMAGE" "$NGINX_OLD_IMAGE" "$BUSYBOX_IMAGE" "$REDIS_IMAGE" "$TOOL_IMAGE")

# Fetches and builds it all.
real_tests_ready() {
    local image
    compose_ready || return 1
    for image in "${REAL_TEST_IMAGES[@]}"; do
        image_ready "$image" || return 1
    done
    NGINX_PROGRAM=$(nginx_program)
    metric_programs_ready
}

# What custom metrics are tested with. Where they cannot be had the tests say so.
metric_programs_ready() {
    REDIS_SERVER=$(debian_tool_of redis redis-server "$SMALL_LEAVE_OUT" redis-server redis-tools || true)
    REDIS_CLI=$(debian_tool_of redis redis-cli "$SMALL_LEAVE_OUT" redis-server redis-tools || true)
    PROMETHEUS=$(debian_tool_of prometheus prometheus "$SMALL_LEAVE_OUT" prometheus || true)
}

# Prints the nginx that runs on this host: Debian's, else the machine's own.
nginx_program() {
    nginx_program_ready sid || command -v nginx ||
        note "no nginx for this host: neither Debian's packages nor one of the machine's own"
}

# What a program asks for and does not need to run.
SMALL_LEAVE_OUT='libc6|gcc-.*|libgcc-s1|libc-gconv.*|libc-bin|adduser|passwd|login.*|dpkg|tar|usrmerge|debconf|perl.*|javascript-common|fonts-.*|lsb-base|init-system-helpers|sysvinit-utils|lib(js-|perl|pam|audit|semanage|sepol|selinux|gdbm|db5|pcre|cap-ng|number-|text-|file-|crypt1|acl|bz2|md0).*'

# nginx_program_ready SUITE: Debian's nginx as a program of this machine, which brings
# its own C library along. Prints the path of a script that runs it.
nginx_program_ready() {
    local suite=$1 folder root=$CACHE/root/nginx-$1 loader
    if [ ! -x "$root/nginx" ]; then
        folder=$(debian_fetch "$suite" nginx "$NGINX_LEAVE_OUT" nginx busybox-static) || return 1
        rm -rf "$root"
        debian_unpack "$folder" "$root" || return 1
        loader=$(find -L "$root"/usr/lib* -name 'ld-linux*.so.*' | head -n 1)
        [ -n "$loader" ] || return 1
        ln -sfn "$loader" "$root/ld.so"
        # The loader's name in the program becomes one in the working directory. To call the
        # loader itself would do as well, but then nginx cannot write its titles.
        perl -pe 's{/lib[^\0]*/ld-linux[^\0]*}{"ld.so" . "\0" x (length($&) - 5)}e' \
            "$root/usr/sbin/nginx" >"$root/usr/sbin/nginx-here" || return 1
        chmod +x "$root/usr/sbin/nginx-here"
        cat >"$root/nginx" <<-SH
			#!/usr/bin/env bash
			cd '$root' && LD_LIBRARY_PATH='$(debian_libraries "$root")' exec -a "\$0" usr/sbin/nginx-here "\$@"
		SH
        chmod +x "$root/nginx"
    fi
    printf '%s\n' "$root/nginx"
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
        COMPOSE_SCALE_TEST_NGINX_PROGRAM "${NGINX_PROGRAM:-}" \
        COMPOSE_SCALE_TEST_BUSYBOX "$BUSYBOX_IMAGE" \
        COMPOSE_SCALE_TEST_TOOL_IMAGE "$TOOL_IMAGE" \
        COMPOSE_SCALE_TEST_REDIS_IMAGE "$REDIS_IMAGE" \
        COMPOSE_SCALE_TEST_REDIS_SERVER "${REDIS_SERVER:-}" \
        COMPOSE_SCALE_TEST_REDIS_CLI "${REDIS_CLI:-}" \
        COMPOSE_SCALE_TEST_PROMETHEUS "${PROMETHEUS:-}" \
        COMPOSE_SCALE_TEST_DOCKERD dockerd \
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
