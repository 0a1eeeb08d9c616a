#!/usr/bin/env bash
# Makes the directories of a new server, and its myid. --force throws its data away: a server of an
# ensemble fetches the others' then, before it votes again; a server alone begins with nothing.
#
# Unlike ZooKeeper's it makes no version-2, which would look like ZooKeeper's data, and no file named
# initialize, which nothing here waits for.

ZOOBINDIR=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
# shellcheck source=bin/zkEnv.sh
. "$ZOOBINDIR/zkEnv.sh"

config=$ZOOCFG
[[ $config == */* ]] || config=$ZOOCFGDIR/$config

usage() {
    printf '%s\n' "usage: $0 <parameters>" \
        "  Optional parameters:" \
        "     -h                                                    Display this message" \
        "     --help                                                Display this message" \
        "     --configfile=$config                    ZooKeeper config file" \
        "     --myid=#                                              Set the myid to be used, if any (1-255)" \
        "     --force                                               Force creation of the data/txnlog dirs"
    exit 1
}

force=no myid=
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help) usage ;;
    --configfile=*) config=${1#*=} ;;
    --myid=*) myid=${1#*=} ;;
    --configfile | --myid)
        [ $# -gt 1 ] || usage
        [ "$1" = --myid ] && myid=$2 || config=$2
        shift
        ;;
    --force) force=yes ;;
    *)
        echo "Unknown option: $1"
        usage
        ;;
    esac
    shift
done

if [ ! -e "$config" ]; then
    echo "Unable to find config file at $config"
    exit 1
fi
data_dir=$(setting_in "$config" dataDir)
log_dir=$(setting_in "$config" dataLogDir)
if [ -z "$data_dir" ]; then
    echo "Unable to determine dataDir from $config"
    exit 1
fi
if [ -n "$myid" ] && ! { [[ $myid =~ ^[0-9]{1,3}$ ]] && [ "$((10#$myid))" -ge 1 ] && [ "$((10#$myid))" -le 255 ]; }; then
    echo "myid $myid is no number from 1 to 255"
    exit 1
fi

# The process that has the log open. One in the foreground has no pid file, but the lock.
lock_holder() {
    local inode kind pid place
    inode=$(stat -c %i "${log_dir:-$data_dir}/log/LOCK" 2>/dev/null) || return 0
    while read -r _ kind _ _ pid place _; do
        if [ "$kind" = POSIX ] && [ "${place##*:}" = "$inode" ]; then
            echo "$pid"
            return
        fi
    done </proc/locks
}

if [ $force = yes ]; then
    pid=$(cat "${ZOOPIDFILE:-$data_dir/zookeeper_server.pid}" 2>/dev/null)
    is_running "$pid" || pid=$(lock_holder)
    if [ -n "$pid" ]; then
        echo "a server runs on $data_dir as process $pid; stop it first"
        exit 1
    fi
    echo "Force enabled, data/txnlog directories will be re-initialized"
elif [ -e "$data_dir/myid" ] || [ -d "$data_dir/snapshots" ] || [ -d "$data_dir/log" ]; then
    echo "ZooKeeper data directory already exists at $data_dir (or use --force to force re-initialization)"
    exit 1
elif [ -n "$log_dir" ] && [ -d "$log_dir/log" ]; then
    echo "ZooKeeper txnlog directory already exists at $log_dir (or use --force to force re-initialization)"
    exit 1
fi
rm -rf "$data_dir/myid" "$data_dir"/{snapshots,log}{,.diverged,.unfinished}
[ -z "$log_dir" ] || rm -rf "$log_dir"/log{,.diverged,.unfinished}
mkdir -p "$data_dir" ${log_dir:+"$log_dir"} || exit 1

if [ -n "$myid" ]; then
    echo "Using myid of $myid"
    echo "$myid" >"$data_dir/myid"
else
    echo "No myid provided, be sure to specify it in $data_dir/myid if using non-standalone"
fi
