# shellcheck shell=bash
# What scripts/bench measures, and with what. Needs the other files of this folder.

bench_ready() {
    compose_ready && programs_ready && image_ready "$WEB_IMAGE" && image_ready "$NGINX_NEW_IMAGE" || return 1
    BENCH=$(demo_programs)/bench
    TOOL=${COMPOSE_SCALE_BENCH_TOOL:-}
    if [ -z "$TOOL" ]; then
        note "building (profile dist)"
        cargo build --profile dist --locked --quiet || return 1
        TOOL=$ROOT/target/dist/compose-scale
    fi
    PROJECT=cs-bench-$$
    PORT=$(free_port 18480)
    # By names, see bench_project.
    PORT_BY_NAME=$(free_port $((PORT + 1)))
    FOLDER=$(mktemp -d /tmp/cs-bench.XXXXXX)
    undo_later rm -rf "$FOLDER"
    export COMPOSE_SCALE_STATE=$FOLDER/state COMPOSE_PROGRESS=quiet
    FILE=$FOLDER/compose.yaml
    undo_later bench_down
    bench_project 1 '[]'
}

# bench_project MIN METRICS [SETTINGS VOLUME]: a web service behind nginx. The second port of nginx sends to the
# service's name, as compose alone would have it: right after each reload.
bench_project() {
    mkdir -p "$FOLDER"/nginx/{conf.d,upstreams}
    cat >"$FILE" <<-YAML
		name: $PROJECT
		x-autoscale: {nginx: {${3:-}}}
		services:
		  web:
		    image: $WEB_IMAGE
		    stop_grace_period: 1s
		    x-autoscale: {min: $1, max: 300, port: 80, metrics: $2, drain: {timeout: 5s}}
		  nginx:
		    image: $NGINX_NEW_IMAGE
		    ports: ["127.0.0.1:$PORT:80", "127.0.0.1:$PORT_BY_NAME:81"]
		    volumes:
		      - ./nginx/conf.d:/etc/nginx/conf.d:ro
		      - ./nginx/upstreams:/etc/nginx/upstreams:ro
		      ${4:-}
		    depends_on: [web]
	YAML
    cat >"$FOLDER/nginx/conf.d/site.conf" <<-'CONF'
		include /etc/nginx/upstreams/*.conf;
		access_log off;
		server {
		    listen 80;
		    include /etc/nginx/conf.d/log.line*;
		    location / {
		        proxy_pass http://web;
		        include /etc/nginx/upstreams/web.location*;
		    }
		}
		upstream by_name { server web:80; }
		server {
		    listen 81;
		    location / { proxy_pass http://by_name; }
		}
	CONF
}

compose() { docker compose -f "$FILE" "$@"; }
tool() { "$TOOL" -f "$FILE" "$@"; }
bench_down() {
    export COMPOSE_PARALLEL_LIMIT=6
    docker compose -p "$PROJECT" down -v --remove-orphans --timeout 0 >/dev/null 2>&1 ||
        docker compose -p "$PROJECT" down -v --remove-orphans --timeout 0 >/dev/null 2>&1
}
# back COUNT: that many replicas, nginx in step, and a moment of peace.
back() {
    tool scale "web=$1" >"$FOLDER/log" 2>&1 || { cat "$FOLDER/log" >&2; return 1; }
    sleep 1
}
now_ms() { printf '%s\n' "$((${EPOCHREALTIME/./} / 1000))"; }
median() { sort -n | awk '{v[NR] = $1} END {if (NR) print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2; else print "?"}'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN {if (b > 0) printf "%.2f\n", a / b; else print "?"}'; }

bench_machine() {
    printf '%s cores (%s), Linux %s, Docker Engine %s (%s), compose %s, nginx %s, compose-scale %s; load average before: %s.\n' \
        "$(nproc)" "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1 | sed 's/  */ /g')" "$(uname -r)" \
        "$(docker version --format '{{.Server.Version}}')" "$(docker info --format '{{.Driver}}, cgroup v{{.CgroupVersion}}' 2>/dev/null)" \
        "$(docker compose version --short)" "$(docker run --rm "$NGINX_NEW_IMAGE" nginx -v 2>&1 | sed 's/.*nginx.//')" \
        "$("$TOOL" --version | cut -d' ' -f2) $(git rev-parse --short HEAD 2>/dev/null)" "$(cut -d' ' -f1-3 /proc/loadavg)"
}

# When the last replica was started, in ms since 1970.
last_start() {
    local ids
    ids=$(docker ps -q --filter "label=com.docker.compose.project=$PROJECT" --filter label=com.docker.compose.service=web)
    # shellcheck disable=SC2086 # One word per id.
    docker inspect --format '{{.State.StartedAt}}' $ids | sort | tail -n 1 | date -f - +%s%3N
}

# measured NAME COUNT PORT COMMAND…: runs it from one replica; files the times until COUNT run and,
# where there is a port, until all COUNT have answered there.
measured() {
    local name=$1 count=$2 port=$3 begin seen=
    shift 3
    if [ -n "$port" ]; then
        "$BENCH" seen "$port" "$count" 60 >"$FOLDER/seen" 2>"$FOLDER/seen-log" &
        seen=$!
        sleep 0.2
    fi
    begin=$(now_ms)
    if ! "$@" >"$FOLDER/log" 2>&1; then
        cat "$FOLDER/log" >&2
        return 1
    fi
    [ -z "$seen" ] || wait "$seen" || { cat "$FOLDER/seen-log" >&2; return 1; }
    echo $(($(last_start) - begin)) >>"$FOLDER/$name-running"
    [ -z "$seen" ] || echo $(($(cat "$FOLDER/seen") - begin)) >>"$FOLDER/$name-serving"
}
by_compose() {
    compose up -d --no-recreate --scale "web=$1" &&
        compose exec -T nginx nginx -s reload
}
by_tool() { tool scale "web=$1"; }
by_floor() { "$BENCH" floor "$PROJECT-web-1" "$1" "$2"; }

of() { median <"$FOLDER/$1" 2>/dev/null; }

bench_scale() {
    local more round at_once best t c f
    bench_project 1 '[]'
    compose up -d >/dev/null 2>&1 && back 1 || return 1
    rm -f "$FOLDER"/*-running "$FOLDER"/*-serving
    for ((round = 1; round <= ROUNDS; round++)); do
        for more in 1 5 20; do
            note "scale: round $round of $ROUNDS, +$more"
            measured "tool-$more" $((1 + more)) "$PORT" by_tool $((1 + more)) && back 1 || return 1
            measured "compose-$more" $((1 + more)) "$PORT_BY_NAME" by_compose $((1 + more)) && back 1 || return 1
            compose exec -T nginx nginx -s reload >/dev/null 2>&1
            for at_once in 1 2 4 8; do
                [ "$at_once" -le "$more" ] || continue
                [ "$more" -lt 20 ] || [ "$at_once" -gt 1 ] || continue
                measured "floor-$more-$at_once" $((1 + more)) '' by_floor "$more" "$at_once" && back 1 || return 1
            done
        done
    done
    printf '| from 1 replica | compose-scale: running | serving | compose: running | serving | floor: running | to compose: running | serving | to the floor |\n'
    printf '|---|---|---|---|---|---|---|---|---|\n'
    for more in 1 5 20; do
        best=$(for f in "$FOLDER"/floor-"$more"-*-running; do printf '%s %s\n' "$(median <"$f")" "$f"; done | sort -n | head -n 1)
        f=${best% *}
        at_once=${best##*/floor-"$more"-}
        t=$(of "tool-$more-running") c=$(of "compose-$more-running")
        printf '| +%s | %s ms | %s ms | %s ms | %s ms | %s ms (%s at once) | %s | %s | %s |\n' "$more" \
            "$t" "$(of "tool-$more-serving")" "$c" "$(of "compose-$more-serving")" "$f" "${at_once%-running}" \
            "$(ratio "$t" "$c")" "$(ratio "$(of "tool-$more-serving")" "$(of "compose-$more-serving")")" "$(ratio "$t" "$f")"
    done
}

# watching: starts `watch` and waits until it has looked and nothing is to be done; WATCH is its pid.
watching() {
    "$TOOL" -f "$FILE" watch --plain >"$FOLDER/watch.log" 2>&1 &
    WATCH=$!
    undo_later end_process "$WATCH"
    sleep "${1:-12}"
    kill -0 "$WATCH" 2>/dev/null || { cat "$FOLDER/watch.log" >&2; return 1; }
}
# Once more is no harm: a section may fail in the middle.
watched() {
    end_process "${WATCH:-none}"
    WATCH=''
}

# Workers of nginx that take requests, one word each; the others have said that they shut down.
takers() {
    local pid title children=''
    TAKERS=
    # Its last line has no end, which `read` takes for a failure.
    read -r children <"/proc/$1/task/$1/children"
    for pid in $children; do
        IFS= read -r -d '' title <"/proc/$pid/cmdline" 2>/dev/null
        case $title in *'worker process is shutting down'* | '') ;; *worker*) TAKERS+=" $pid" ;; esac
    done
}

bench_events() {
    local i master before died end name pid corrected
    # Enough of them that each has served for half a minute when its turn comes again: what dies
    # young is not started again at once.
    bench_project 9 '[]'
    compose up -d --scale web=9 >/dev/null 2>&1 && back 9 && watching 32 || return 1
    master=$(docker inspect --format '{{.State.Pid}}' "$PROJECT-nginx-1")
    rm -f "$FOLDER/corrected"
    exec 9<> <(:) # Reading from it with a time-out is a sleep without a process.
    for ((i = 0; i < KILLS; i++)); do
        note "events: $((i + 1)) of $KILLS"
        name=$PROJECT-web-$((1 + i % 9))
        pid=$(docker inspect --format '{{.State.Pid}}' "$name")
        takers "$master"
        before=$TAKERS
        end=$(($(now_ms) + 10000))
        kill -9 "$pid" || return 1
        while :; do
            takers "$master"
            # All of before are gone, and there are others.
            corrected=1
            for pid in $before; do case " $TAKERS " in *" $pid "*) corrected= ;; esac done
            [ -n "$TAKERS" ] && [ -n "$corrected" ] && break
            [ "$(now_ms)" -lt "$end" ] || { note "nginx was not corrected"; return 1; }
            read -r -t 0.002 -u 9
        done
        corrected=$(now_ms)
        died=$(docker inspect --format '{{.State.FinishedAt}}' "$name" | date -f - +%s%3N)
        echo $((corrected - died)) >>"$FOLDER/corrected"
        # Until it serves again, and things are quiet.
        while [ "$(grep -c 'server [0-9]' "$FOLDER/nginx/upstreams/web.conf")" != 9 ]; do
            [ "$(now_ms)" -lt $((end + 20000)) ] || { note "$name did not come back"; return 1; }
            sleep 0.2
        done
        sleep 4
    done
    exec 9>&-
    watched
    printf '| a replica is killed | median | longest |\n|---|---|---|\n'
    printf '| until no nginx worker sends to it | %s ms | %s ms |\n' "$(of corrected)" "$(sort -n "$FOLDER/corrected" | tail -n 1)"
}

# CPU time used so far, in hundredths of a second.
cpu_of() {
    local pid
    for pid in "$@"; do cat "/proc/$pid/stat" 2>/dev/null; done |
        sed 's/.*) //' | awk '{sum += $12 + $13} END {print sum + 0}'
}
engine_pids() {
    local dockerd
    dockerd=$(pidof -s dockerd) || return 1
    # Where the socket is a private Engine's, its dockerd is our child.
    [ -z "${ENGINE_PID:-}" ] || dockerd=$ENGINE_PID
    printf '%s\n' "$dockerd"
    pgrep -P "$dockerd" containerd
}
percent() { awk -v used="$1" -v seconds="$2" 'BEGIN {printf "%.2f %%\n", used / seconds}'; }

bench_cost() {
    local size engine idle before own
    # shellcheck disable=SC2016 # Backquotes of Markdown.
    printf '| replicas | `watch`: CPU, of one core | peak memory | dockerd and containerd without `watch` | with `watch` |\n|---|---|---|---|---|\n'
    for size in "${SIZES[@]}"; do
        note "cost: $size replicas"
        bench_project "$size" '[cpu: 60%]'
        { compose up -d >/dev/null 2>&1 && tool scale --timeout 15m "web=$size" >"$FOLDER/log" 2>&1; } ||
            { cat "$FOLDER/log" >&2; return 1; }
        sleep 10
        mapfile -t engine < <(engine_pids)
        before=$(cpu_of "${engine[@]}")
        sleep "$SECONDS_EACH"
        idle=$(($(cpu_of "${engine[@]}") - before))
        watching 20 || return 1
        before=$(cpu_of "${engine[@]}") own=$(cpu_of "$WATCH")
        sleep "$SECONDS_EACH"
        own=$(($(cpu_of "$WATCH") - own))
        printf '| %s | %s | %s MiB | %s | %s |\n' "$size" "$(percent "$own" "$SECONDS_EACH")" \
            "$(awk '/^VmHWM/ {printf "%.1f", $2 / 1024}' "/proc/$WATCH/status")" \
            "$(percent "$idle" "$SECONDS_EACH")" "$(percent $(($(cpu_of "${engine[@]}") - before)) "$SECONDS_EACH")"
        watched
    done
    bench_project 1 '[]'
    COMPOSE_PARALLEL_LIMIT=6 compose up -d --scale web=1 >/dev/null 2>&1 && back 1
}

# load_p99 NAME PATH [more arguments of load]
load_p99() {
    "$LOAD_PROGRAM" --url "http://127.0.0.1:$PORT$2" --connections 16 --rps 100 --duration "${LOAD_SECONDS}s" --json >"$FOLDER/load.json"
    sed -n 's/.*"failed": *\([0-9]*\).*/\1/p' "$FOLDER/load.json" | head -n 1 >>"$FOLDER/$1-failed"
    sed -n 's/.*"p99": *\([0-9.]*\).*/\1/p' "$FOLDER/load.json" | head -n 1 >>"$FOLDER/$1-p99"
}
up_and_down() {
    while [ ! -e "$FOLDER/enough" ]; do tool scale web=6 && tool scale web=3 || return; done
}

bench_latency() {
    local round path name hands
    bench_project 1 '[]'
    compose up -d --scale web=3 >/dev/null 2>&1 && back 3 || return 1
    rm -f "$FOLDER"/*-p99 "$FOLDER"/*-failed
    for ((round = 1; round <= ROUNDS; round++)); do
        note "latency: round $round of $ROUNDS"
        for path in / '/slow?ms=20'; do
            name=${path//[^a-z0-9]/-}
            load_p99 "quiet$name" "$path"
            up_and_down >/dev/null 2>&1 &
            hands=$!
            load_p99 "scaling$name" "$path"
            touch "$FOLDER/enough"
            wait "$hands"
            rm -f "$FOLDER/enough"
            back 3 || return 1
        done
    done
    printf '| 100 requests a second to | quiet: p99 | while scaling 3 → 6 → 3: p99 | ratio | failed |\n|---|---|---|---|---|\n'
    for path in / '/slow?ms=20'; do
        name=${path//[^a-z0-9]/-}
        # shellcheck disable=SC2016 # Backquotes of Markdown.
        printf '| `%s` | %s ms | %s ms | %s | %s |\n' "$path" "$(of "quiet$name-p99")" "$(of "scaling$name-p99")" \
            "$(ratio "$(of "scaling$name-p99")" "$(of "quiet$name-p99")")" "$(cat "$FOLDER"/{quiet,scaling}"$name"-failed | awk '{sum += $1} END {print sum}')"
    done
}

# What nginx answers at full speed, without a log and with ours.
bench_log() {
    local round which line address wrk
    wrk=$(debian_tool_of wrk wrk 'libc6|gcc-.*|libgcc-s1|libc-gconv.*' wrk) || return 1
    bench_project 1 '[requests: 1000000]' "logs: {dir: $FOLDER/shm, inside: /var/log/compose-scale}" \
        "- $FOLDER/shm:/var/log/compose-scale"
    mkdir -p "$FOLDER/shm" && mount -t tmpfs -o size=1g tmpfs "$FOLDER/shm" || return 1
    undo_later umount "$FOLDER/shm"
    compose up -d --scale web=2 >/dev/null 2>&1 && back 2 || return 1
    line=$(sed -n 's/^access_log .*/&/p' "$FOLDER/nginx/upstreams/00-compose-scale.conf")
    [ -n "$line" ] || return 1
    # Past the port that is published: its program would cost as much as nginx.
    address=$(docker inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' "$PROJECT-nginx-1")
    rm -f "$FOLDER"/*-wrk
    for ((round = 1; round <= ROUNDS; round++)); do
        note "log: round $round of $ROUNDS"
        for which in without with; do
            if [ $which = with ]; then log_line "$line"; else log_line 'access_log off;'; fi || return 1
            "$wrk" -t1 -c32 -d"${LOAD_SECONDS}s" "http://$address/host" |
                sed -n 's/^Requests\/sec: *//p' >>"$FOLDER/$which-wrk"
        done
    done
    # Or it was not written at all.
    [ "$(cat "$FOLDER"/shm/*.log | wc -l)" -gt 100000 ] || return 1
    printf '| requests a second, 32 connections | without a log | with ours | ratio |\n|---|---|---|---|\n'
    printf '| nginx in front of two replicas | %s | %s | %s |\n' "$(of without-wrk)" "$(of with-wrk)" \
        "$(ratio "$(of with-wrk)" "$(of without-wrk)")"
}
# log_line LINE: what the server block says of its log.
log_line() {
    printf '%s\n' "$1" >"$FOLDER/nginx/conf.d/log.line"
    compose exec -T nginx nginx -s reload >/dev/null 2>&1 && sleep 1
}

# bench_write SECTION FILE: between its two marks in docs/benchmarks.md.
bench_write() {
    local page=$ROOT/docs/benchmarks.md new
    new=$(mktemp)
    awk -v section="$1" -v file="$2" '
        $0 == "<!-- bench:" section " -->" {print; print ""; while ((getline line < file) > 0) print line; print ""; skip = 1; next}
        $0 == "<!-- /bench:" section " -->" {skip = 0}
        !skip {print}' "$page" >"$new" && cat "$new" >"$page"
    rm -f "$new"
}
