# shellcheck shell=bash
# What exported manifests are held against. Needs the other files of this folder.

# The package with the schemas that Kubernetes publishes.
KUBERNETES_SCHEMAS='kubernetes-validate==1.37.0'

# kubernetes_schemas_ready: prints a python that has them, in a folder of its own.
kubernetes_schemas_ready() {
    local root=$CACHE/kubernetes-schemas
    if [ "$(cat "$root/complete" 2>/dev/null)" != "$root $KUBERNETES_SCHEMAS" ]; then
        if ! have python3; then
            note 'python3 is missing'
            return 1
        fi
        rm -rf "$root"
        python3 -m venv "$root" >&2 && "$root/bin/pip" -q install "$KUBERNETES_SCHEMAS" >&2 || return 1
        printf '%s\n' "$root $KUBERNETES_SCHEMAS" >"$root/complete"
    fi
    printf '%s\n' "$root/bin/python"
}

# kubectl_ready: prints a way to call kubectl, from PATH or from Debian's newest package.
kubectl_ready() {
    local root
    if have kubectl; then
        command -v kubectl
        return
    fi
    root=$(debian_program sid kubectl "$SMALL_LEAVE_OUT" kubernetes-client) || return 1
    debian_runner "$root" kubectl
}
