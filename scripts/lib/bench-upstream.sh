# shellcheck shell=bash
# `scripts/bench upstream`: which settings of an upstream lose the fewest requests, on both versions of nginx. The
# files are those that the tool writes, with one value replaced. Needs bench.sh.

# The sets of parameters of a server line, and the connect timeouts, that are compared.
UPSTREAM_SERVERS=('max_fails=1 fail_timeout=2s' 'max_fails=10 fail_timeout=1s' 'max_fails=0')
UPSTREAM_TIMEOUTS=(1s 2s 4s 5s 10s 60s)

# upstream_project IMAGE: `web`, and one service for each way to misbehave.
upstream_project() {
    mkdir -p "$FOLDER"/nginx/{site,upstreams}
    cat >"$FILE" <<-YAML
		name: $PROJECT
		x-autoscale: {nginx: {service: nginx}}
		services:
		  web:
		    image: $WEB_IMAGE
		    stop_grace_period: 1s
		    x-autoscale: {min: 1, max: 6, port: 80, metrics: []}
		  full: {image: $WEB_IMAGE, environment: {BACKLOG: 1, ACCEPT_MS: 600000}, stop_grace_period: 1s}
		  burst: {image: $WEB_IMAGE, environment: {BACKLOG: 64, ACCEPT_MS: 2}, scale: 3, stop_grace_period: 1s}
		  idle: {image: $WEB_IMAGE, environment: {IDLE_MS: 20}, scale: 3, stop_grace_period: 1s}
		  broken: {image: $WEB_IMAGE, environment: {CLOSES: 1}, stop_grace_period: 1s}
		  nginx:
		    image: $1
		    ports: ["127.0.0.1:$PORT:80"]
		    volumes:
		      - ./nginx/site/nginx.conf:/etc/nginx/nginx.conf:ro
		      - ./nginx/upstreams:/etc/nginx/upstreams:ro
		      - ./nginx/site:/etc/nginx/site:ro
		    depends_on: [web]
	YAML
    cat >"$FOLDER/nginx/site/nginx.conf" <<-'CONF'
		worker_processes 2;
		error_log stderr error;
		events { worker_connections 8192; }
		http {
		    access_log off;
		    include /etc/nginx/upstreams/*.conf;
		    include /etc/nginx/site/*.upstream;
		    server {
		        listen 80 backlog=4096;
		        location / {
		            proxy_pass http://measured;
		            include /etc/nginx/site/measured.location*;
		        }
		    }
		}
	CONF
    # Those of another nginx are another version's.
    rm -f "$FOLDER"/nginx/upstreams/*
    printf 'upstream measured { server 127.0.0.1:9 down; }\n' >"$FOLDER/nginx/site/measured.upstream"
    rm -f "$FOLDER/nginx/site/measured.location"
}

addresses_of() {
    # shellcheck disable=SC2046 # one word for each container
    docker inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' \
        $(docker ps -q --filter "label=com.docker.compose.project=$PROJECT" --filter "label=com.docker.compose.service=$1") | sort
}

# upstream_of PARAMETERS TIMEOUT ADDRESS…: nginx sends to these, as the tool would write it.
upstream_of() {
    local parameters=$1 timeout=$2 address site=$FOLDER/nginx/site
    shift 2
    {
        printf 'upstream measured {\n    zone measured 128k;\n    least_conn;\n'
        for address in "$@"; do printf '    server %s:80 %s;\n' "$address" "$parameters"; done
        printf '    keepalive 32;\n}\n'
    } >"$site/measured.upstream"
    sed "s/^proxy_connect_timeout .*/proxy_connect_timeout $timeout;/" "$FOLDER/nginx/upstreams/web.location" >"$site/measured.location"
    compose exec -T nginx nginx -s reload >/dev/null 2>&1 && sleep 0.6
}

# count NAME ARGUMENTS…: load; files `failed requests slowest` of its first class.
count() {
    local name=$1
    shift
    "$LOAD_PROGRAM" --url "http://127.0.0.1:$PORT/" --json "$@" >"$FOLDER/load.json"
    jq_first "$FOLDER/load.json" >>"$FOLDER/$name"
}

# Of the first class of a report: failed, requests, slowest in ms.
jq_first() {
    awk -F'[:,]' '
        /"classes"/ {inside = 1}
        inside && /"requests"/ && r == "" {r = $2 + 0}
        inside && /"failed"/ && f == "" {f = $2 + 0}
        inside && /"p99"/ && p == "" {p = $2 + 0}
        inside && /"max"/ && m == "" {m = $2 + 0}
        END {print f + 0, r + 0, m + 0, p + 0}' "$1"
}

# cell NAME: medians of what was filed: `failed of requests, slowest`.
cell() {
    local failed requests slowest
    failed=$(cut -d' ' -f1 "$FOLDER/$1" | median) requests=$(cut -d' ' -f2 "$FOLDER/$1" | median)
    slowest=$(cut -d' ' -f3 "$FOLDER/$1" | median)
    printf ' %s of %s, %s |' "$failed" "$requests" "$(awk -v ms="$slowest" 'BEGIN {if (ms < 1000) printf "%d ms\n", ms; else printf "%.1f s\n", ms / 1000}')"
}

# The address that nobody has.
nobody() {
    local one
    one=$(addresses_of web | head -n 1)
    printf '%s.250\n' "${one%.*}"
}

upstream_round() {
    local which=$1 index parameters timeout web full burst idle broken count held=()
    mapfile -t web < <(addresses_of web)
    mapfile -t full < <(addresses_of full)
    mapfile -t burst < <(addresses_of burst)
    mapfile -t idle < <(addresses_of idle)
    mapfile -t broken < <(addresses_of broken)
    # Its queue is full from here on.
    for ((index = 0; index < 4; index++)); do
        timeout 600 bash -c "exec 3<>/dev/tcp/${full[0]}/80 && exec sleep 600" 2>/dev/null &
        held+=($!)
    done
    for index in "${!UPSTREAM_SERVERS[@]}"; do
        parameters=${UPSTREAM_SERVERS[$index]}
        for count in 1 2 6; do
            upstream_of "$parameters" 4s "${web[@]:0:$count}" || return 1
            count "$which-url-$count-$index" --class fast:connections=16,rps=600,duration=5s --class bad:path=/close,rps=1,duration=5s
        done
        count "$which-often-$index" --class fast:connections=16,rps=600,duration=5s --class bad:path=/close,rps=30,duration=5s
        upstream_of "$parameters" 4s "${idle[@]}" || return 1
        count "$which-race-$index" --class post:connections=8,rps=400,method=POST,body-bytes=100,path=/echo,duration=5s
        upstream_of "$parameters" 4s "${broken[0]}" "${web[@]:0:2}" || return 1
        count "$which-broken-get-$index" --class get:connections=16,rps=300,duration=5s
        count "$which-broken-post-$index" --class post:connections=16,rps=300,method=POST,body-bytes=100,path=/echo,duration=5s
        upstream_of "$parameters" 4s "${full[0]}" "${web[@]:0:2}" || return 1
        count "$which-full-$index" --class get:connections=64,rps=300,duration=8s
        upstream_of "$parameters" 4s "${web[@]:0:3}" || return 1
        upstream_kill "$which-kill-$index" || return 1
        mapfile -t web < <(addresses_of web)
    done
    for timeout in "${UPSTREAM_TIMEOUTS[@]}"; do
        upstream_of max_fails=0 "$timeout" "${burst[0]}" || return 1
        count "$which-burst-1-$timeout" --class 'all:path=/slow?ms=300,connections=300,requests=300,keepalive=false,timeout=90s'
        upstream_of max_fails=0 "$timeout" "${burst[@]}" || return 1
        count "$which-burst-3-$timeout" --class 'all:path=/slow?ms=300,connections=900,requests=900,keepalive=false,timeout=90s'
        upstream_of max_fails=0 "$timeout" "$(nobody)" "${web[@]:0:2}" || return 1
        count "$which-dead-$timeout" --class get:connections=64,rps=200,duration=6s,timeout=90s
        upstream_of max_fails=0 "$timeout" "$(nobody)" || return 1
        count "$which-only-$timeout" --class get:connections=64,rps=50,duration=3s,timeout=90s
        upstream_of max_fails=0 "$timeout" "${full[0]}" "${web[@]:0:2}" || return 1
        count "$which-stuck-$timeout" --class get:connections=64,rps=200,duration=6s,timeout=90s
    done
    kill "${held[@]}" 2>/dev/null
}

# upstream_kill NAME: one of three is killed under load, and 270 ms later, as `watch` needs, it is not listed any more.
upstream_kill() {
    local name=$1 load site=$FOLDER/nginx/site dead address
    count "$name" --class all:connections=64,rps=1000,duration=5s &
    load=$!
    sleep 2
    dead=$(docker ps --filter "label=com.docker.compose.project=$PROJECT" --filter label=com.docker.compose.service=web --format '{{.Names}}' | sort -V | sed -n 2p)
    address=$(docker inspect --format '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$dead")
    kill -9 "$(docker inspect --format '{{.State.Pid}}' "$dead")"
    sleep 0.15
    sed -i "/server $address:80 /d" "$site/measured.upstream"
    compose exec -T nginx nginx -s reload >/dev/null 2>&1
    wait "$load"
    docker start "$dead" >/dev/null && sleep 1
}

bench_upstream() {
    local which image round
    for which in new old; do
        image=$NGINX_NEW_IMAGE
        [ "$which" = new ] || image=$NGINX_OLD_IMAGE
        image_ready "$image" && upstream_project "$image" || return 1
        if ! { compose up -d --scale web=6 >/dev/null 2>&1 && tool sync >"$FOLDER/log" 2>&1; }; then
            cat "$FOLDER/log" >&2
            return 1
        fi
        for ((round = 1; round <= ROUNDS; round++)); do
            note "upstream: $image, round $round of $ROUNDS"
            upstream_round "$which" || return 1
        done
        bench_down
    done
    upstream_servers
    upstream_timeouts
}

upstream_servers() {
    local which index parameters case
    printf '| nginx | a server'"'"'s parameters | bad URL, 1 replica | 2 replicas | 6 replicas | 30 a second, 6 replicas | killed | accept queue full | POST on idle connections | one replica closes all: GET | POST |\n'
    printf '|---|---|---|---|---|---|---|---|---|---|---|\n'
    for which in new old; do
        for index in "${!UPSTREAM_SERVERS[@]}"; do
            parameters=${UPSTREAM_SERVERS[$index]}
            # shellcheck disable=SC2016 # Backquotes of Markdown.
            printf '| %s | `%s` |' "$(upstream_version "$which")" "$parameters"
            for case in url-1 url-2 url-6 often kill full race broken-get broken-post; do cell "$which-$case-$index"; done
            printf '\n'
        done
    done
}

upstream_timeouts() {
    local which timeout case
    # shellcheck disable=SC2016 # Backquotes of Markdown.
    printf '\n| nginx | `proxy_connect_timeout` | 300 at once, 1 replica | 900 at once, 3 replicas | 1 of 3 addresses dead | the only address dead | 1 of 3 accept queues full |\n|---|---|---|---|---|---|---|\n'
    for which in new old; do
        for timeout in "${UPSTREAM_TIMEOUTS[@]}"; do
            # shellcheck disable=SC2016 # Backquotes of Markdown.
            printf '| %s | `%s` |' "$(upstream_version "$which")" "$timeout"
            for case in burst-1 burst-3 dead only stuck; do cell "$which-$case-$timeout"; done
            printf '\n'
        done
    done
}

upstream_version() { if [ "$1" = new ]; then echo "${NGINX_NEW_IMAGE##*:}"; else echo "${NGINX_OLD_IMAGE##*:}"; fi; }
