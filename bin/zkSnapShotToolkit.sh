#!/usr/bin/env bash
# ZooKeeper's SnapshotFormatter, the znodes and sessions of a snapshot: [-d|-json] SNAPSHOT.

ZOOBINDIR=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
# shellcheck source=bin/zkEnv.sh
. "$ZOOBINDIR/zkEnv.sh"

server=$(find_binary zk-server) || exit 1
exec "$server" snapshot-formatter "$@"
