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

# The server reads -D words from both; a site file may have set them without export.
export SERVER_JVMFLAGS=${SERVER_JVMFLAGS:-} JVMFLAGS=${JVMFLAGS:-}
# A restart must find the same configuration.
export ZOOCFGDIR ZOO_LOG_DIR
