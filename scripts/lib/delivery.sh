# shellcheck shell=bash
# Tests of what is delivered beside the program. Needs common.sh.

# Functions here are steps of scripts/test: they fail with a message on standard error.
wrong() {
    note "wrong: $*"
    return 1
}

# completes FILE: whether it makes `watch` of `wat`, as bash would ask for it.
# shellcheck disable=SC1090,SC2034 # bash's own variables for a completion.
completes() (
    . "$1"
    COMP_WORDS=(compose-scale wat) COMP_CWORD=1
    "$(complete -p compose-scale | sed 's/.*-F \([^ ]*\).*/\1/')" compose-scale wat compose-scale
    [ "${COMPREPLY[*]}" = watch ]
)

# installer_works BINARY: into a root of its own, twice, then out again.
# shellcheck disable=SC2153 # ROOT is set by common.sh.
installer_works() {
    local root file first listed
    root=$(mktemp -d)
    # shellcheck disable=SC2064 # The value of now.
    trap "rm -rf '$root'; trap - RETURN" RETURN
    install_into() { DESTDIR=$root "$ROOT/scripts/install" "$@"; }

    install_into --binary "$1" --systemd || return 1
    first=$(cd "$root" && find . -type f -printf '%P %m\n' | sort)
    install_into --binary "$1" --systemd || return 1
    listed=$(cd "$root" && find . -type f -printf '%P %m\n' | sort)
    [ "$first" = "$listed" ] || wrong "a second run changed the files:
$first
$listed" || return 1
    for file in 'bin/compose-scale 755' 'lib/systemd/system/compose-scale@.service 644' 'lib/systemd/system/compose-scale-boot@.service 644' \
        'share/man/man1/compose-scale.1 644' 'share/man/man1/compose-scale-watch.1 644' \
        'share/bash-completion/completions/compose-scale 644' 'share/zsh/site-functions/_compose-scale 644' \
        'share/fish/vendor_completions.d/compose-scale.fish 644' 'share/doc/compose-scale/LICENSE-MIT 644'; do
        grep -qxF "usr/local/$file" <<<"$listed" || wrong "not installed: $file" || return 1
    done
    # Every command of the help has its page, and every page can be formatted.
    local command
    for command in $("$1" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p'); do
        file=$root/usr/local/share/man/man1/compose-scale-$command.1
        [ "$command" = help ] || [ -s "$file" ] || wrong "no page for $command" || return 1
    done
    if have man; then
        for file in "$root"/usr/local/share/man/man1/*; do
            [ -z "$(MANWIDTH=100 LC_ALL=C.UTF-8 man --warnings -E UTF-8 -l -Tutf8 -Z "$file" 2>&1 >/dev/null)" ] ||
                wrong "$file has mistakes" || return 1
        done
    fi
    # The completion is found by its own name and completes a command.
    completes "$root/usr/local/share/bash-completion/completions/compose-scale" ||
        wrong 'the bash completion does not complete wat' || return 1

    install_into --uninstall || return 1
    listed=$(find "$root" ! -type d)
    [ -z "$listed" ] || wrong "left behind: $listed" || return 1
    HOME=$root/home "$ROOT/scripts/install" --user --binary "$1" >/dev/null || return 1
    [ -x "$root/home/.local/bin/compose-scale" ] || wrong 'not installed for a user' || return 1
    HOME=$root/home "$ROOT/scripts/install" --user --uninstall >/dev/null || return 1
    listed=$(find "$root" ! -type d)
    [ -z "$listed" ] || wrong "left behind: $listed" || return 1
    ! "$ROOT/scripts/install" --user --systemd --binary "$1" 2>/dev/null || wrong '--user --systemd was taken'
}

# unit_holds: what systemd itself says of the unit, also with the drop-in for nginx on the machine.
unit_holds() {
    local folder unit said level
    folder=$(mktemp -d)
    # shellcheck disable=SC2064
    trap "rm -rf '$folder'; trap - RETURN" RETURN
    for unit in "$folder"/compose-scale{-boot,}@srv-shop.service; do
        # It looks whether the program is there.
        said=$(basename "$unit" | sed 's/srv-shop//')
        sed 's|/usr/local/bin/compose-scale|/bin/true|' "$ROOT/packaging/systemd/$said" >"$unit"
        said=$(systemd-analyze verify --man=no "$unit" 2>&1) || wrong "$said" || return 1
        [ -z "$said" ] || wrong "$said" || return 1
    done
    # In tenths; an older systemd cannot look at a file.
    if systemd-analyze --help | grep -q -- --offline; then
        systemd-analyze security --no-pager --offline=yes --threshold=25 "$unit" || return 1
        level=35
        { cat "$unit" && grep -v '^#' "$ROOT/packaging/systemd/nginx-on-host.conf"; } >"$folder/with.service"
        systemd-analyze security --no-pager --offline=yes --threshold=$level "$folder/with.service" || return 1
    fi
    # What the README promises of exit codes.
    grep -qx 'RestartPreventExitStatus=2 75 78' "$unit" || wrong 'it would be started again after 2, 75 or 78'
}
