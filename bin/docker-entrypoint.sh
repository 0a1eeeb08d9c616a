#!/usr/bin/env bash
# What a container starts: makes a configuration from the variables of ZooKeeper's official image, as
# that does, and becomes the command. What is there already stays: a zoo.cfg, a myid.
set -euo pipefail

: "${ZOO_CONF_DIR:=/conf}" "${ZOO_DATA_DIR:=/data}" "${ZOO_DATA_LOG_DIR:=/datalog}" "${ZOO_LOG_DIR:=/logs}"
# Where the scripts look for what is written here.
export ZOOCFGDIR=$ZOO_CONF_DIR ZOO_LOG_DIR

# Directories that were mounted may be root's. With --user there is nothing to give away.
if [ "${1:-}" = zkServer.sh ] && [ "$(id -u)" = 0 ] && id zookeeper >/dev/null 2>&1; then
    chown -R zookeeper: "$ZOO_DATA_DIR" "$ZOO_DATA_LOG_DIR" "$ZOO_LOG_DIR"
    exec setpriv --reuid=zookeeper --regid=zookeeper --init-groups -- "$0" "$@"
fi

config=$ZOO_CONF_DIR/zoo.cfg
if [ ! -f "$config" ]; then
    # Words, as many as there are: ZOO_SERVERS and ZOO_CFG_EXTRA have one a line here.
    read -r -d '' -a servers <<<"${ZOO_SERVERS:-server.1=localhost:2888:3888;2181}" || true
    read -r -d '' -a extra <<<"${ZOO_CFG_EXTRA:-}" || true
    whitelist=${ZOO_4LW_COMMANDS_WHITELIST:-}
    # Whole or absent: a container that is stopped meanwhile begins anew.
    printf '%s\n' \
        "dataDir=$ZOO_DATA_DIR" \
        "dataLogDir=$ZOO_DATA_LOG_DIR" \
        "tickTime=${ZOO_TICK_TIME:-2000}" \
        "initLimit=${ZOO_INIT_LIMIT:-5}" \
        "syncLimit=${ZOO_SYNC_LIMIT:-2}" \
        "autopurge.snapRetainCount=${ZOO_AUTOPURGE_SNAPRETAINCOUNT:-3}" \
        "autopurge.purgeInterval=${ZOO_AUTOPURGE_PURGEINTERVAL:-0}" \
        "maxClientCnxns=${ZOO_MAX_CLIENT_CNXNS:-60}" \
        "standaloneEnabled=${ZOO_STANDALONE_ENABLED:-true}" \
        "admin.enableServer=${ZOO_ADMINSERVER_ENABLED:-true}" \
        "${servers[@]}" \
        ${whitelist:+"4lw.commands.whitelist=$whitelist"} \
        ${extra[@]+"${extra[@]}"} >"$config.part"
    mv "$config.part" "$config"
fi
if [ ! -f "$ZOO_DATA_DIR/myid" ]; then
    echo "${ZOO_MY_ID:-1}" >"$ZOO_DATA_DIR/myid"
fi

exec "$@"
