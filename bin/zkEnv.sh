#!/usr/bin/env bash
# Sourced by the other scripts: where configuration and logs are. The variables are ZooKeeper's.

ZOOBINDIR=${ZOOBINDIR:-$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)}
ZOOKEEPER_PREFIX=$(cd "$ZOOBINDIR/.." && pwd)

# --config DIR comes before the command.
if [ $# -gt 1 ] && [ "$1" = --config ]; then
    ZOOCFGDIR=$2
    shift 2
fi
config_is_named=${ZOOCFGDIR:+yes}
if [ -z "${ZOOCFGDIR:-}" ]; then
    ZOOCFGDIR=$ZOOKEEPER_PREFIX/conf
    [ -d "$ZOOCFGDIR" ] || [ ! -d "$ZOOKEEPER_PREFIX/etc/zookeeper" ] || ZOOCFGDIR=$ZOOKEEPER_PREFIX/etc/zookeeper
fi

# Settings of the site, under ZooKeeper's own file names.
for site in zookeeper-env.sh java.env; do
    if [ -f "$ZOOCFGDIR/$site" ]; then
        # shellcheck source=/dev/null
        . "$ZOOCFGDIR/$site"
    fi
done

# A configuration that somebody has named must be there; only the usual one may be absent.
config_is_named=${config_is_named:-${ZOOCFG:+yes}}
ZOOCFG=${ZOOCFG:-zoo.cfg}
ZOO_LOG_DIR=${ZOO_LOG_DIR:-$ZOOKEEPER_PREFIX/logs}

# The path of a binary: that of an installation lies beside the scripts, that of a source tree is built
# when it is needed.
find_binary() {
    if [ -x "$ZOOBINDIR/$1" ]; then
        echo "$ZOOBINDIR/$1"
    elif [ "$1" = zk-cli ]; then
        "$ZOOKEEPER_PREFIX/.build/shell"
    else
        "$ZOOKEEPER_PREFIX/.build/server"
    fi
}

# The last value of a key in a configuration file, by the separators of a properties file.
setting_in() {
    [ -r "$1" ] || return 0
    sed -nE "s/^[[:space:]]*$2([[:space:]]*[=:][[:space:]]*|[[:space:]]+)([^[:space:]].*)$/\2/p" "$1" |
        tail -n 1 | tr -d '\r' | sed -E 's/[[:space:]]+$//'
}

# Whether a process is the server of $config and $data_dir: the number in an old file may belong to
# anybody by now, to another server too. A zombie has ended. Where the system does not tell, it is.
is_running() {
    [[ $1 =~ ^[0-9]+$ ]] || return 1
    if [ ! -d /proc/self ]; then
        kill -0 "$1" 2>/dev/null
        return
    fi
    local name state
    if ! { name=$(<"/proc/$1/comm") && state=$(<"/proc/$1/stat"); } 2>/dev/null; then
        # Where other users' processes are hidden, this still tells.
        LC_ALL=C kill -0 "$1" 2>&1 | grep -q 'not permitted'
        return
    fi
    [ "$name" = "$(basename "${MEERKAT_BIN:-zk-server}" | cut -c1-15)" ] || return 1
    # Its name is in parentheses and may have any in it.
    [[ ${state##*) } != Z* ]] && serves_data_dir "$1"
}

# Whether a server has this configuration's dataDir, whatever the file is called that says so.
serves_data_dir() {
    local words=() place theirs
    { mapfile -d '' -t words <"/proc/$1/cmdline"; } 2>/dev/null
    place=$(readlink "/proc/$1/cwd" 2>/dev/null) || place=
    in_place() {
        if [[ $1 == /* ]]; then echo "$1"; elif [ -n "$1" ] && [ -n "$place" ]; then echo "$place/$1"; fi
    }
    case ${#words[@]} in
    1) theirs=data ;;
    2)
        theirs=$(in_place "${words[1]}")
        # The same file, though its dataDir may have been changed.
        [ ! "$theirs" -ef "$config" ] || return 0
        theirs=$(setting_in "$theirs" dataDir)
        ;;
    *) theirs=${words[2]:-} ;;
    esac
    theirs=$(in_place "$theirs")
    [ -z "$theirs" ] || [ -z "$data_dir" ] || [ "$theirs" = "$data_dir" ] || [ "$theirs" -ef "$data_dir" ]
}

# What the server reads from its environment; a site file may have set it without export.
export MEERKAT_LOG MEERKAT_LOG_FORMAT
export SERVER_JVMFLAGS=${SERVER_JVMFLAGS:-} JVMFLAGS=${JVMFLAGS:-}
export ZOO_LOG_DIR
