#!/usr/bin/env bash
# Starts, stops and asks after the server, with the commands and the output of ZooKeeper's script.
#
# Differences: where no configuration is named and conf/zoo.cfg is not there, the server runs with its
# embedded default (127.0.0.1:2181, data in ./data); start waits until the port answers and stop until
# the process is gone. compat-tests/scripts/differences has the others.

usage="Usage: $0 [--config <conf-dir>] {start|start-foreground|stop|version|restart|status|print-cmd}"
start_seconds_max=${ZOO_START_SECONDS:-10}
stop_seconds_max=${ZOO_STOP_SECONDS:-60}

ZOOBINDIR=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
# shellcheck source=bin/zkEnv.sh
. "$ZOOBINDIR/zkEnv.sh"

# A bare name is a file of the configuration directory, anything with a slash is a path.
command=${1:-}
file=${2:-}
config=${file:-$ZOOCFG}
[[ $config == */* ]] || config=$ZOOCFGDIR/$config
if [ -n "$file$config_is_named" ] || [ -e "$config" ]; then
    server_args=("$config")
    echo "Using config: $config" >&2
else
    server_args=()
    echo "Using config: none ($config is not there), the embedded default: 127.0.0.1:2181, data in $PWD/data" >&2
fi

case $command in
start | start-foreground | stop | version | restart | status | print-cmd) ;;
*)
    echo "$usage" >&2
    exit 2
    ;;
esac

setting() {
    if [ ${#server_args[@]} -gt 0 ]; then
        setting_in "$config" "$1"
    fi
}

data_dir=$(setting dataDir)
[ ${#server_args[@]} -gt 0 ] || data_dir=data
if [ -z "${ZOOPIDFILE:-}" ] && [ -n "$data_dir" ]; then
    ZOOPIDFILE=$data_dir/zookeeper_server.pid
fi
out_file=$ZOO_LOG_DIR/zookeeper-${USER:-$(id -un)}-server-${HOSTNAME:-$(hostname)}.out

find_server() {
    server=$(find_binary zk-server) || exit 1
}

# The disk that is not mounted must not become a new, empty server. The server knows the property.
if [ -n "${ZOO_DATADIR_AUTOCREATE_DISABLE:-}" ]; then
    SERVER_JVMFLAGS+=" -Dzookeeper.datadir.autocreate=false"
fi

# Where to ask: the plain client port, from the file or from this server's own line.
find_client_port() {
    client_address=$(setting clientPortAddress)
    client_port=$(setting clientPort)
    if [ ${#server_args[@]} = 0 ]; then
        client_address=127.0.0.1 client_port=2181
    fi
    if ! [[ $client_port =~ ^[0-9]+$ ]]; then
        local id own dynamic
        id=$(head -n 1 "$data_dir/myid" 2>/dev/null)
        if ! [[ $id =~ ^[0-9]+$ ]]; then
            echo "myid could not be determined, will not able to locate clientPort in the server configs."
        else
            own=$(setting "server\.$id")
            if [[ $own != *\;* ]]; then
                echo "Client port not found in static config file. Looking in dynamic config file."
                dynamic=$(setting dynamicConfigFile)
                own=$(config=$dynamic setting "server\.$id")
            fi
            if [[ $own == *\;* ]]; then
                own=${own#*;}
                client_port=${own##*:}
                if [[ $own == *:* ]]; then
                    client_address=${own%:*}
                fi
            else
                echo "Client port not found in the server configs"
            fi
        fi
        if ! [[ $client_port =~ ^[0-9]+$ ]]; then
            echo "Client port not found. Looking for secureClientPort in the static config."
        fi
    fi
    client_address=${client_address#[}
    client_address=${client_address%]}
    case $client_address in
    '' | 0.0.0.0 | ::) client_address=localhost ;;
    esac
    [[ $client_port =~ ^[0-9]+$ ]] && [ "$client_port" != 0 ]
}

ask_srvr() {
    # shellcheck disable=SC2016 # the inner shell expands them
    timeout 5 bash -c 'exec 3<>"/dev/tcp/$0/$1" && printf srvr >&3 && cat <&3' \
        "$client_address" "$client_port" 2>/dev/null
}

# One `start` at a time: two that found no pid would both start a server, and one of them would be in
# no pid file. Ends with the script. Without util-linux's flock there is no lock, as in upstream's.
lock_start() {
    # A lock that another user has made is only read.
    if command -v flock >/dev/null && { exec 9>>"$ZOOPIDFILE.lock" || exec 9<"$ZOOPIDFILE.lock"; } 2>/dev/null; then
        flock 9
    fi
}

# Another server's pid stays.
remove_pid_file() {
    if [ "$(cat "$ZOOPIDFILE" 2>/dev/null)" = "$1" ]; then
        rm -f "$ZOOPIDFILE"
    fi
}

start() {
    local pid
    if [ ${#server_args[@]} -gt 0 ] && [ ! -e "$config" ]; then
        echo "$config: file is missing" >&2
        exit 1
    fi
    if [ -z "${ZOOPIDFILE:-}" ]; then
        echo "dataDir is not set in $config, and neither is ZOOPIDFILE" >&2
        exit 1
    fi
    find_server
    echo -n "Starting zookeeper ... "
    if ! mkdir -p "$ZOO_LOG_DIR" "$(dirname "$ZOOPIDFILE")"; then
        echo SERVER DID NOT START
        exit 1
    fi
    lock_start
    pid=$(cat "$ZOOPIDFILE" 2>/dev/null)
    if [ -n "$pid" ] && is_running "$pid"; then
        echo "already running as process $pid."
        exit 1
    fi
    if ! { [ -w "$ZOOPIDFILE" ] || { [ ! -e "$ZOOPIDFILE" ] && [ -w "$(dirname "$ZOOPIDFILE")" ]; }; }; then
        echo FAILED TO WRITE PID
        exit 1
    fi
    # Behind what is there: it may be another server's, whose file has the same name. Of what it
    # says later, only what is new is ours.
    local begin
    if ! : >>"$out_file" || ! begin=$(wc -c <"$out_file"); then
        echo SERVER DID NOT START
        exit 1
    fi
    # An answer tells that ours serves only if nobody else answers there already.
    local answer_tells=no seconds_max=$start_seconds_max
    if ! find_client_port >/dev/null; then
        # Nobody can be asked: alive after a second is what upstream's takes for started.
        seconds_max=1
    elif ! ask_srvr >/dev/null; then
        answer_tells=yes
    fi
    nohup "$server" "${server_args[@]}" >>"$out_file" 2>&1 </dev/null 9>&- &
    pid=$!
    if ! echo -n "$pid" >"$ZOOPIDFILE"; then
        kill "$pid"
        echo FAILED TO WRITE PID
        exit 1
    fi
    # A server that has much to load may take longer than this; it is alive then, and that is
    # all that STARTED has ever promised.
    local deadline=$((SECONDS + seconds_max))
    while [ "$SECONDS" -lt "$deadline" ]; do
        if ! kill -0 "$pid" 2>/dev/null; then
            remove_pid_file "$pid"
            echo FAILED TO START
            tail -c "+$((begin + 1))" "$out_file" | tail -n 5 >&2
            exit 1
        fi
        if [ $answer_tells = yes ] && ask_srvr >/dev/null; then
            break
        fi
        sleep 0.1
    done
    echo STARTED
}

stop() {
    local pid deadline
    echo -n "Stopping zookeeper ... "
    if [ ! -f "${ZOOPIDFILE:-}" ]; then
        echo "no zookeeper to stop (could not find file ${ZOOPIDFILE:-})"
        return
    fi
    pid=$(cat "$ZOOPIDFILE")
    if is_running "$pid"; then
        if ! kill "$pid" 2>/dev/null && is_running "$pid"; then
            echo "FAILED TO STOP (process $pid belongs to another user)"
            exit 1
        fi
        deadline=$((SECONDS + stop_seconds_max))
        while is_running "$pid"; do
            if [ "$SECONDS" -ge "$deadline" ]; then
                echo "FAILED TO STOP (process $pid still runs after $stop_seconds_max s)"
                exit 1
            fi
            sleep 0.1
        done
    fi
    remove_pid_file "$pid"
    echo STOPPED
}

case $command in
start)
    start
    ;;
start-foreground)
    find_server
    if [ -n "${ZOO_NOEXEC:-}" ]; then
        "$server" "${server_args[@]}"
    else
        exec "$server" "${server_args[@]}"
    fi
    ;;
stop)
    stop
    ;;
restart)
    stop
    start
    ;;
status)
    if ! find_client_port; then
        echo "Unable to find either secure or unsecure client port in any configs. Terminating."
        exit 1
    fi
    echo "Client port found: $client_port. Client address: $client_address. Client SSL: false."
    if ! mode=$(ask_srvr | grep '^Mode'); then
        echo "Error contacting service. It is probably not running."
        exit 1
    fi
    echo "$mode"
    ;;
version)
    find_server
    "$server" --version
    ;;
print-cmd)
    find_server
    printf '"%s"' "$server"
    [ ${#server_args[@]} = 0 ] || printf ' "%s"' "${server_args[@]}"
    printf ' >> "%s" 2>&1 < /dev/null\n' "$out_file"
    ;;
esac
