#!/usr/bin/env bash
# ZooKeeper's SnapshotComparer, where two snapshots differ in size: -l LEFT -r RIGHT -b BYTES -n NODES [-d] [-i].

ZOOBINDIR=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
# shellcheck source=bin/zkEnv.sh
. "$ZOOBINDIR/zkEnv.sh"

server=$(find_binary zk-server) || exit 1
exec "$server" snapshot-comparer "$@"
