# shellcheck shell=bash
# Debian packages, fetched with apt and unpacked into a folder of our own: nothing
# of the machine's package state is read or changed. Needs common.sh.

# Whether packages can be had here at all.
debian_here() {
    have apt-get && have dpkg-deb && [ -n "$(debian_keyring)" ] && debian_mirror >/dev/null
}

debian_keyring() {
    local ring
    for ring in /usr/share/keyrings/debian-archive-keyring.{pgp,gpg}; do
        if [ -r "$ring" ]; then
            printf '%s\n' "$ring"
            return
        fi
    done
}

# The mirror that the machine's own sources name for Debian's main archive.
debian_mirror() {
    local files=()
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
        [ ! -r "$file" ] || files+=("$file")
    done
    [ ${#files[@]} -gt 0 ] || return 1
    sed -n -E 's/^(deb( \[[^]]*\])?|URIs:) +([a-z+]+:\/\/[^ ]+\/debian)\/?( .*)?$/\3/p' "${files[@]}" |
        head -n 1 | grep .
}

# The machine's own release where it is Debian's: what runs outside a container
# must fit its C library.
debian_own_suite() {
    (
        # shellcheck disable=SC1091
        . /etc/os-release
        [ "${ID:-}" = debian ] && printf '%s\n' "${VERSION_CODENAME:-sid}"
    )
}

# apt_in SUITE COMMAND…: apt-get or apt-cache with a state of its own. The machine's
# other settings, a proxy for example, hold.
apt_in() {
    local suite=$1 base=$CACHE/apt/$1
    shift
    if [ ! -e "$base/apt.conf" ]; then
        mkdir -p "$base"/none "$base"/{lists,archives}/partial
        : >"$base/status"
        printf 'deb [signed-by=%s] %s %s main\n' "$(debian_keyring)" "$(debian_mirror)" "$suite" >"$base/sources.list"
        cat >"$base/apt.conf" <<-CONF
			Dir::Etc::preferences "$base/no-preferences";
			Dir::Etc::preferencesparts "$base/none";
			Dir::Etc::sourcelist "$base/sources.list";
			Dir::Etc::sourceparts "-";
			Dir::State "$base";
			Dir::State::status "$base/status";
			Dir::Cache "$base";
			Dir::Log "$base";
			Acquire::Languages "none";
			Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
			Acquire::Retries "3";
			APT::Install-Recommends "false";
			APT::Sandbox::User "root";
		CONF
    fi
    APT_CONFIG=$base/apt.conf "$@"
}

# debian_fetch SUITE NAME LEAVE_OUT PACKAGE…: the packages and what they depend on,
# but for names that match the regular expression LEAVE_OUT. Prints the folder
# that holds them; a second call costs nothing.
debian_fetch() {
    local suite=$1 name=$2 leave_out=$3 folder
    shift 3
    folder=$CACHE/debs/$suite-$name
    if [ ! -e "$folder/complete" ]; then
        debian_here || return 1
        rm -rf "$folder"
        mkdir -p "$folder"
        run_logged "$folder/log" apt_in "$suite" apt-get -q update || return 1
        apt_in "$suite" apt-get -qq -s install "$@" >"$folder/log" || return 1
        awk '/^Inst /{print $2}' "$folder/log" | grep -v -x -E "$leave_out" >"$folder/packages" || return 1
        # shellcheck disable=SC2046 # One word per package.
        (cd "$folder" && run_logged log apt_in "$suite" apt-get -q download $(cat packages)) || return 1
        touch "$folder/complete"
    fi
    printf '%s\n' "$folder"
}

# debian_unpack FOLDER ROOT: all its packages into a root with the merged /usr that
# newer releases have and the links keep older ones working in.
debian_unpack() {
    local folder=$1 root=$2 link deb
    mkdir -p "$root"/usr/{bin,sbin,lib,lib64}
    for link in bin sbin lib lib64; do ln -sfn "usr/$link" "$root/$link"; done
    for deb in "$folder"/*.deb; do
        dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$root" --keep-directory-symlink --no-same-owner \
            --exclude='./usr/share/doc/*' --exclude='./usr/share/man/*' --exclude='./usr/share/locale/*' || return 1
    done
}

# debian_program SUITE NAME LEAVE_OUT PACKAGE…: unpacks a program's packages for use
# on this machine and prints the root. Its C library is the machine's own.
debian_program() {
    local root=$CACHE/root/$2 folder
    if [ ! -e "$root/complete" ]; then
        folder=$(debian_fetch "$@") || return 1
        rm -rf "$root"
        debian_unpack "$folder" "$root" || return 1
        touch "$root/complete"
    fi
    printf '%s\n' "$root"
}

# debian_stack SUITE NAME LEAVE_OUT PACKAGE…: like debian_program for a suite whose C library may
# be newer than the machine's: it is unpacked too, and the programs name their own loader and
# libraries. (By LD_LIBRARY_PATH the machine's own programs, which they call, would get it as well.)
debian_stack() {
    local suite=$1 root=$CACHE/root/$2-$1 folder patchelf program loader
    # The paths are written into the programs.
    if [ "$(cat "$root/complete" 2>/dev/null)" != "$root" ]; then
        folder=$(debian_fetch "$@" libc6) || return 1
        patchelf=$(debian_tool patchelf) || return 1
        rm -rf "$root"
        debian_unpack "$folder" "$root" || return 1
        for program in "$root"/usr/{bin,sbin}/*; do
            { [ -f "$program" ] && [ ! -L "$program" ]; } || continue
            loader=$("$patchelf" --print-interpreter "$program" 2>/dev/null) || continue
            "$patchelf" --set-interpreter "$root$loader" --force-rpath --set-rpath "$(debian_libraries "$root")" "$program" || return 1
        done
        printf '%s\n' "$root" >"$root/complete"
    fi
    printf '%s\n' "$root"
}

# debian_tool NAME: prints a way to call a program, from PATH or from Debian's package of that name.
debian_tool() { debian_tool_of "$1" "$1" 'libc6|gcc-.*|libgcc-s1|libc-gconv.*' "$1"; }

# debian_tool_of NAME PROGRAM LEAVE_OUT PACKAGE…: prints a way to call a program, from PATH or from these
# packages, unpacked together as NAME without what LEAVE_OUT matches.
debian_tool_of() {
    local name=$1 program=$2 leave_out=$3 suite root
    shift 3
    if have "$program"; then
        command -v "$program"
        return
    fi
    suite=$(debian_own_suite) || return 1
    root=$(debian_program "$suite" "$name" "$leave_out" "$@") || return 1
    debian_runner "$root" "$program"
}

# debian_runner ROOT PROGRAM: a script that runs it with its own libraries; prints the path.
debian_runner() {
    local run=$1/run-$2
    cat >"$run" <<-RUN
		#!/bin/sh
		LD_LIBRARY_PATH=$(debian_libraries "$1") exec $1/usr/bin/$2 "\$@"
	RUN
    chmod +x "$run"
    printf '%s\n' "$run"
}

# Where a root's shared libraries are, for LD_LIBRARY_PATH.
debian_libraries() {
    local triple
    triple=$(dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || printf '%s-linux-gnu' "$(uname -m)")
    printf '%s/usr/lib/%s\n' "$1" "$triple"
}
