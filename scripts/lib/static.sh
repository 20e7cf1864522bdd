# shellcheck shell=bash
# The static binary of the tool itself. Needs common.sh, and
# images.sh for the image.

STATIC='-C target-feature=+crt-static'

# build_static: from here on cargo builds programs as they are released: static. The tests then need
# one build for themselves and for the image of the tool.
build_static() {
    CARGO_BUILD_TARGET=$(rust_host)
    export CARGO_BUILD_TARGET RUSTFLAGS="${RUSTFLAGS:+$RUSTFLAGS }$STATIC"
    export RUSTDOCFLAGS="${RUSTDOCFLAGS:+$RUSTDOCFLAGS }$STATIC"
}

# static_ready PROFILE: builds it for $TARGET (this machine's, if not set).
# STATIC_PROGRAM is its path.
# shellcheck disable=SC2153 # ROOT is set by common.sh.
static_ready() {
    local flags target=${TARGET:-} folder=${CARGO_TARGET_DIR:-$ROOT/target}
    [ -n "$target" ] || target=$(rust_host)
    # `--target` keeps the flag from build scripts and macros, which cannot be static.
    case ${RUSTFLAGS:-} in *"$STATIC"*) flags=$RUSTFLAGS ;; *) flags="${RUSTFLAGS:+$RUSTFLAGS }$STATIC" ;; esac
    RUSTFLAGS=$flags cargo build --locked --profile "$1" \
        --target "$target" --target-dir "$folder" --manifest-path "$ROOT/Cargo.toml" || return 1
    case $1 in dev) folder=$folder/$target/debug ;; *) folder=$folder/$target/$1 ;; esac
    export STATIC_PROGRAM=$folder/compose-scale
    is_static "$STATIC_PROGRAM" || return 1
    # One for another kind of machine cannot be run here.
    [ "${target%%-*}" != "$(uname -m)" ] || "$STATIC_PROGRAM" --version >&2
}

# is_static FILE: no program interpreter, and no library that one would have to find.
is_static() {
    local headers
    headers=$(readelf -lW -d "$1") || return 1
    if grep -E 'INTERP|\(NEEDED\)' <<<"$headers" >&2; then
        note "$1 is not static"
        return 1
    fi
}

# image_tool NAME: an image of it as the Dockerfile makes one, FROM scratch.
image_tool() {
    local root=$CACHE/tmp/tool-root
    static_ready dev || return 1
    rm -rf "$root"
    mkdir -p "$root"
    cp "$STATIC_PROGRAM" "$root/compose-scale"
    image_make "$root" "$1" '"compose-scale.tool": "1"' '"Entrypoint": ["/compose-scale"], "Cmd": ["watch"]'
}
