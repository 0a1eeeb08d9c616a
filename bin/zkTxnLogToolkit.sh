#!/usr/bin/env bash
# ZooKeeper's TxnLogToolkit: prints, mends or cuts off a transaction log of ZooKeeper's: [-dhrvcy] LOG [-z ZXID].

ZOOBINDIR=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
# shellcheck source=bin/zkEnv.sh
. "$ZOOBINDIR/zkEnv.sh"

server=$(find_binary zk-server) || exit 1
exec "$server" txn-log-toolkit "$@"
