# shellcheck shell=bash
# What is in compose/monitoring, held against the programs that read it. Needs the other files of this folder.

# shellcheck disable=SC2153 # ROOT is set by common.sh.
MONITORING=$ROOT/compose/monitoring
# Grafana's models of a dashboard, which it makes from its own schema.
GRAFANA_MODELS='grafana-foundation-sdk==1769699379!11.6.0'

# promtool_ready: prints a way to call promtool, from PATH or from Debian's package of Prometheus.
promtool_ready() { debian_tool_of prometheus promtool "$SMALL_LEAVE_OUT" prometheus; }

# prometheus_files_hold PROMTOOL: the configuration, the rules, and when each alert fires.
prometheus_files_hold() (
    cd "$MONITORING/prometheus" || exit 1
    "$1" check config prometheus.yml && "$1" check rules --lint=all rules/*.yml && "$1" test rules rules_test.yml
)

# grafana_models_ready: prints a python that has them, in a folder of its own.
grafana_models_ready() {
    local root=$CACHE/grafana-models
    if [ "$(cat "$root/complete" 2>/dev/null)" != "$root $GRAFANA_MODELS" ]; then
        if ! have python3 || ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
            note 'python3 is missing, or older than 3.11'
            return 1
        fi
        rm -rf "$root"
        python3 -m venv "$root" >&2 && "$root/bin/pip" -q install --no-deps "$GRAFANA_MODELS" >&2 || return 1
        printf '%s\n' "$root $GRAFANA_MODELS" >"$root/complete"
    fi
    printf '%s\n' "$root/bin/python"
}

# dashboards_hold PYTHON: each is a dashboard by Grafana's schema.
dashboards_hold() { "$1" "$ROOT/scripts/lib/dashboard-schema.py" "$MONITORING"/grafana/dashboards/*.json; }
