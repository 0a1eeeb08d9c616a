#!/usr/bin/env bash
# Sourced by the other scripts: where configuration and logs are. The variables are ZooKeeper's.

ZOOBINDIR=${ZOOBINDIR:-$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)}
ZOOKEEPER_PREFIX=$(cd "$ZOOBINDIR/.." && pwd)

# --config DIR comes before the command.
if [ $# -gt 1 ] && [ "$1" = --config ]; then
    ZOOCFGDIR=$2
    shift 2
fi
ZOOCFGDIR=${ZOOCFGDIR:-$ZOOKEEPER_PREFIX/conf}

# Settings of the site, under ZooKeeper's own file names.
for site in zookeeper-env.sh java.env; do
    if [ -f "$ZOOCFGDIR/$site" ]; then
        # shellcheck source=/dev/null
        . "$ZOOCFGDIR/$site"
    fi
done

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
    sed -nE "s/^[[:space:]]*$2([[:space:]]*[=:][[:space:]]*|[[:space:]]+)([^[:space:]=:].*)$/\2/p" "$1" |
        tail -n 1 | tr -d '\r' | sed -E 's/[[:space:]]+$//'
}

# The server reads -D words from both; a site file may have set them without export.
export SERVER_JVMFLAGS=${SERVER_JVMFLAGS:-} JVMFLAGS=${JVMFLAGS:-}
# A restart must find the same configuration.
export ZOOCFGDIR ZOO_LOG_DIR
