# shellcheck shell=bash
# The images of demo and tests: there already, pulled, or made here from Debian's
# packages and our own program. Needs common.sh, debian.sh.

WEB_IMAGE=compose-scale/demo-web:latest
NGINX_NEW_IMAGE=nginx:1.30
NGINX_OLD_IMAGE=compose-scale/test-nginx:1.22
BUSYBOX_IMAGE=busybox:1.37
REDIS_IMAGE=compose-scale/test-redis:7
# The tool itself, as of now.
TOOL_IMAGE=compose-scale:test

# Counted up when the way a stand-in is made changes.
RECIPE=1
PULL_SECONDS=${COMPOSE_SCALE_PULL_SECONDS:-60}

image_there() { docker image inspect "$1" >/dev/null 2>&1; }
image_label() { docker image inspect --format "{{index .Config.Labels \"$2\"}}" "$1" 2>/dev/null; }

# Whether an image of that name can be used: made by nobody else's recipe than ours
# of now, or not made by us at all.
image_usable() {
    local recipe
    image_there "$1" || return 1
    recipe=$(image_label "$1" compose-scale.recipe)
    [ -z "$recipe" ] || [ "$recipe" = "$RECIPE" ]
}

# image_pull PUBLIC NAME. Where no registry answers, the next ones are not tried.
image_pull() {
    local log=$CACHE/pull.log
    [ -z "${COMPOSE_SCALE_NO_REGISTRY:-}" ] || return 1
    if timeout "$PULL_SECONDS" docker pull -q "$1" >"$log" 2>&1; then
        [ "$1" = "$2" ] || docker tag "$1" "$2"
        return
    fi
    COMPOSE_SCALE_NO_REGISTRY=1
    note "no registry to pull $1 from ($(tail -n 1 "$log" | cut -c1-120)): making stand-ins"
    return 1
}

# image_make ROOT NAME LABELS CONFIG: a folder as an image of one layer, in the form
# that `docker save` writes and every Engine loads. CONFIG is the inside of the
# image's "config" object; LABELS of its labels.
image_make() {
    local root=$1 name=$2 labels=$3 config=$4 work=$CACHE/tmp/image before sum architecture
    rm -rf "$work"
    mkdir -p "$work"
    before=$(docker image inspect --format '{{.Id}}' "$name" 2>/dev/null) || before=
    tar -c -C "$root" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -f "$work/layer.tar" . || return 1
    sum=$(sha256sum <"$work/layer.tar" | cut -d' ' -f1)
    case $(uname -m) in x86_64) architecture=amd64 ;; aarch64) architecture=arm64 ;; *) architecture=$(uname -m) ;; esac
    cat >"$work/config.json" <<-JSON
		{"architecture": "$architecture", "os": "linux", "created": "1970-01-01T00:00:00Z",
		 "config": {"Labels": {"compose-scale.recipe": "$RECIPE", $labels}, $config},
		 "rootfs": {"type": "layers", "diff_ids": ["sha256:$sum"]}}
	JSON
    printf '[{"Config": "config.json", "RepoTags": ["%s"], "Layers": ["layer.tar"]}]\n' "$name" >"$work/manifest.json"
    tar -c -C "$work" manifest.json config.json layer.tar | docker load -q >/dev/null || return 1
    rm -rf "$root" "$work"
    # The one before, unless it is the same or a container still uses it.
    if [ -n "$before" ] && [ "$before" != "$(docker image inspect --format '{{.Id}}' "$name")" ]; then
        docker image rm "$before" >/dev/null 2>&1 || true
    fi
}

# image_ready NAME: there, pulled, or made.
image_ready() {
    case $1 in
    "$WEB_IMAGE") image_web ;;
    "$NGINX_NEW_IMAGE") image_usable "$1" || image_pull "$1" "$1" || image_nginx "$1" sid ;;
    "$NGINX_OLD_IMAGE") image_usable "$1" || image_pull nginx:1.22 "$1" || image_nginx "$1" bookworm ;;
    "$TOOL_IMAGE") image_tool "$1" ;;
    "$REDIS_IMAGE") image_usable "$1" || image_pull redis:7 "$1" || image_redis "$1" bookworm ;;
    "$BUSYBOX_IMAGE") image_usable "$1" || image_pull "$1" "$1" || image_busybox "$1" trixie ;;
    *) image_there "$1" || image_pull "$1" "$1" || die "no way to make the image $1" ;;
    esac
}

# Where programs_ready puts our web app and load generator.
demo_programs() { printf '%s/web/%s/release\n' "$CACHE" "$(rust_host)"; }
load_program() { printf '%s/load\n' "$(demo_programs)"; }

# programs_ready: builds our web app and load generator as static programs.
# WEB_PROGRAM and LOAD_PROGRAM are their paths.
# shellcheck disable=SC2153 # ROOT is set by common.sh.
programs_ready() {
    local target
    target=$(rust_host)
    # `--target` keeps the flags from build scripts.
    RUSTFLAGS=$STATIC CARGO_TARGET_DIR=$CACHE/web run_logged "$CACHE/web.log" \
        cargo build --locked --release --target "$target" --manifest-path "$ROOT/compose/demo/web/Cargo.toml" || return 1
    WEB_PROGRAM=$(demo_programs)/web
    LOAD_PROGRAM=$(load_program)
    export LOAD_PROGRAM
}

image_web() {
    local sum root=$CACHE/tmp/web-root
    programs_ready || return 1
    # Of the source: the program itself differs with the folder it is built in.
    sum=$(cd "$ROOT/compose/demo/web" && find Cargo.lock Cargo.toml src -type f | LC_ALL=C sort |
        xargs sha256sum | sha256sum | cut -d' ' -f1)
    image_usable "$WEB_IMAGE" && [ "$(image_label "$WEB_IMAGE" compose-scale.source)" = "$sum" ] && return
    rm -rf "$root"
    mkdir -p "$root"
    cp "$WEB_PROGRAM" "$root/web"
    # As in compose/demo/web/Dockerfile.
    image_make "$root" "$WEB_IMAGE" "\"compose-scale.source\": \"$sum\"" \
        '"Entrypoint": ["/web"], "Env": ["PORT=80"], "ExposedPorts": {"80/tcp": {}}'
}

NGINX_LEAVE_OUT='debconf|gcc-.*|libc-gconv.*|openssl-provider-legacy|iproute2|lib(bpf|bsd|elf|tirpc|krb5|k5|gssapi|com-err|keyutils|db5|md0|mnl|xtables|selinux|cap).*'

# image_nginx NAME SUITE: laid out as the official image: the same nginx.conf and
# conf.d, logs to the container's output, the user `nginx`, nginx as process 1.
image_nginx() {
    local name=$1 suite=$2 folder root=$CACHE/tmp/nginx-root version
    folder=$(debian_fetch "$suite" nginx "$NGINX_LEAVE_OUT" \
        nginx busybox-static) || return 1
    rm -rf "$root"
    debian_unpack "$folder" "$root" || return 1
    version=$(sed -n 's/^nginx_\(.*\)_.*\.deb$/\1/p' < <(ls "$folder"))
    version=${version%%-*}
    case $name in *:"${version%.*}") ;; *) note "$name is made from nginx $version, which Debian $suite has now" ;; esac

    shell_into "$root"
    rm -rf "$root"/etc/nginx/{sites-*,modules-*,snippets,conf.d,nginx.conf} "$root"/etc/{init.d,logrotate.d,ufw,default}
    mkdir -p "$root"/etc/nginx/conf.d "$root"/var/{log,cache,lib}/nginx "$root"/{run,tmp}
    ln -sfn ../run "$root/var/run"
    chmod 1777 "$root/tmp"
    ln -sf /dev/stdout "$root/var/log/nginx/access.log"
    ln -sf /dev/stderr "$root/var/log/nginx/error.log"
    printf '%s\n' root:x:0:0:root:/root:/bin/sh nobody:x:65534:65534:nobody:/nonexistent:/bin/false \
        nginx:x:101:101:nginx:/nonexistent:/bin/false >"$root/etc/passwd"
    printf '%s\n' root:x:0: nogroup:x:65534: nginx:x:101: >"$root/etc/group"
    echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
    cat >"$root/etc/nginx/nginx.conf" <<-'CONF'
		user  nginx;
		worker_processes  auto;

		error_log  /var/log/nginx/error.log notice;
		pid        /run/nginx.pid;

		events {
		    worker_connections  1024;
		}

		http {
		    include       /etc/nginx/mime.types;
		    default_type  application/octet-stream;

		    log_format  main  '$remote_addr - $remote_user [$time_local] "$request" '
		                      '$status $body_bytes_sent "$http_referer" '
		                      '"$http_user_agent" "$http_x_forwarded_for"';

		    access_log  /var/log/nginx/access.log  main;

		    sendfile        on;
		    keepalive_timeout  65;

		    include /etc/nginx/conf.d/*.conf;
		}
	CONF
    cat >"$root/etc/nginx/conf.d/default.conf" <<-'CONF'
		server {
		    listen       80;
		    server_name  localhost;

		    location / {
		        root   /usr/share/nginx/html;
		        index  index.html index.htm;
		    }
		}
	CONF
    image_make "$root" "$name" "\"compose-scale.version\": \"$version\"" \
        '"Cmd": ["nginx", "-g", "daemon off;"], "StopSignal": "SIGQUIT", "ExposedPorts": {"80/tcp": {}},
         "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "NGINX_VERSION='"$version"'"]'
}

# As for nginx, and what only the installation of the packages needs.
REDIS_LEAVE_OUT='debconf|perl.*|dpkg|tar|usrmerge|adduser|passwd|login.*|libc-gconv.*|lsb-base|init-system-helpers|sysvinit-utils|lib(perl|pam|audit|semanage|sepol|selinux|gdbm|db5|pcre|cap-ng|number-|text-|file-|crypt1|acl|bz2|md0).*'

image_busybox() {
    local name=$1 suite=$2 folder root=$CACHE/tmp/busybox-root
    folder=$(debian_fetch "$suite" busybox 'none' busybox-static) || return 1
    rm -rf "$root"
    debian_unpack "$folder" "$root" || return 1
    shell_into "$root"
    mkdir -p "$root"/{etc,root,tmp,var}
    chmod 1777 "$root/tmp"
    echo root:x:0:0:root:/root:/bin/sh >"$root/etc/passwd"
    echo root:x:0: >"$root/etc/group"
    image_make "$root" "$name" "\"compose-scale.suite\": \"$suite\"" \
        '"Cmd": ["sh"], "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]'
}

# image_redis NAME SUITE: Redis and its client as they are, with a shell beside them.
image_redis() {
    local name=$1 suite=$2 folder root=$CACHE/tmp/redis-root
    folder=$(debian_fetch "$suite" redis-image "$REDIS_LEAVE_OUT" redis-server redis-tools busybox-static) || return 1
    rm -rf "$root"
    debian_unpack "$folder" "$root" || return 1
    shell_into "$root"
    mkdir -p "$root"/{data,etc,tmp}
    chmod 1777 "$root/tmp"
    echo root:x:0:0:root:/root:/bin/sh >"$root/etc/passwd"
    echo root:x:0: >"$root/etc/group"
    image_make "$root" "$name" "\"compose-scale.suite\": \"$suite\"" \
        '"Cmd": ["redis-server", "--protected-mode", "no"], "WorkingDir": "/data", "ExposedPorts": {"6379/tcp": {}},
         "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]'
}

# A name for each of busybox's programs, in a root that holds busybox.
shell_into() {
    local applet
    for applet in $("$1/usr/bin/busybox" --list); do
        [ -e "$1/usr/bin/$applet" ] || [ -e "$1/usr/sbin/$applet" ] || ln -s busybox "$1/usr/bin/$applet"
    done
}
