#!/usr/bin/env bash
# Removes old snapshots: zkCleanup.sh -n COUNT keeps the newest COUNT, at least 3. The server does so
# itself whenever it has written one (autopurge.snapRetainCount), and its log goes back to the oldest
# that is kept; this is for those who want fewer than it keeps. It may run meanwhile; the log is purged
# when the server has written its next snapshot or is started again.

ZOOBINDIR=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
# shellcheck source=bin/zkEnv.sh
. "$ZOOBINDIR/zkEnv.sh"

usage() {
    printf '%s\n' Usage: "PurgeTxnLog dataLogDir [snapDir] -n count" \
        $'\tdataLogDir -- path to the txn log directory' \
        $'\tsnapDir -- path to the snapshot directory' \
        $'\tcount -- the number of old snaps/logs you want to keep, value should be greater than or equal to 3'
    exit 1
}

if [ $# != 2 ] || [ "$1" != -n ] || ! [[ $2 =~ ^[0-9]{1,9}$ ]]; then
    usage
fi
keep=$((10#$2))
if [ "$keep" -lt 3 ]; then
    echo "count should be greater than or equal to 3" >&2
    usage
fi
config=$ZOOCFG
[[ $config == */* ]] || config=$ZOOCFGDIR/$config
data_dir=$(setting_in "$config" dataDir)
if [ -z "$data_dir" ]; then
    echo "Unable to determine dataDir from $config" >&2
    exit 1
fi

# Their names sort by age, and an unfinished one has another name.
shopt -s nullglob
snapshots=("$data_dir"/snapshots/snapshot.*)
for ((at = 0; at < ${#snapshots[@]} - keep; at++)); do
    old=${snapshots[at]}
    printf 'Removing file: %s\t%s\n' "$(LC_ALL=C date -r "$old" '+%b %-d, %Y, %-I:%M:%S %p')" "$old"
    rm -f "$old" || exit 1
done
