#!/usr/bin/env bash
# The shell, with the options, commands and output of ZooKeeper's: zkCli.sh -server host:port [cmd args].
# It is a native binary, built at its first use.

ZOOBINDIR=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
# shellcheck source=bin/zkEnv.sh
. "$ZOOBINDIR/zkEnv.sh"

shell=$(find_binary zk-cli) || exit 1
exec "$shell" "$@"
