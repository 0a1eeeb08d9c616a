#!/usr/bin/env bash
# ZooKeeper's SnapshotRecursiveSummary, znodes and bytes below each znode of a snapshot: SNAPSHOT PATH DEPTH.

ZOOBINDIR=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
# shellcheck source=bin/zkEnv.sh
. "$ZOOBINDIR/zkEnv.sh"

server=$(find_binary zk-server) || exit 1
exec "$server" snapshot-recursive-summary "$@"
