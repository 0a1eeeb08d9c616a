# shellcheck shell=bash disable=SC2154 # what ../run sets
# zkServer.sh, as an operator types it.

test_start_status_stop() {
    configure
    run "$zkserver" --config conf start
    expect_code 0 && expect_out "Starting zookeeper ... STARTED" && expect_err "Using config: conf/zoo.cfg" || return
    local pid
    pid=$(server_pid)
    run "$zkserver" --config conf status
    expect_code 0 || return
    expect_out "Client port found: $port. Client address: 127.0.0.1. Client SSL: false.
Mode: standalone" || return
    run "$zkserver" --config conf stop
    expect_code 0 && expect_out "Stopping zookeeper ... STOPPED" || return
    gone "$pid" || fail "process $pid is still there after stop" || return
    [ ! -e data/zookeeper_server.pid ] || fail "stop leaves the pid file behind"
}

test_second_start_is_refused() {
    configure
    run "$zkserver" --config conf start
    expect_code 0 || return
    local pid
    pid=$(server_pid)
    run "$zkserver" --config conf start
    expect_code 1 && expect_out "Starting zookeeper ... already running as process $pid." || return
    run "$zkserver" --config conf stop
    expect_code 0
}

# However many begin at once, there is one server, and it is in the pid file.
test_starts_at_once_make_one_server() {
    configure
    local at starts=()
    for at in 1 2 3 4; do
        "$zkserver" --config conf start >"start.$at" 2>/dev/null </dev/null &
        starts+=($!)
    done
    wait "${starts[@]}"
    local pid
    pid=$(server_pid) || fail "no pid file: $(cat start.*)" || return
    answers "$port" || fail "no server answers: $(cat start.*)" || return
    [ "$(cat start.* | sort)" = "Starting zookeeper ... STARTED
Starting zookeeper ... already running as process $pid.
Starting zookeeper ... already running as process $pid.
Starting zookeeper ... already running as process $pid." ] || fail "they said: $(cat start.*)" || return
    ! readlink "/proc/$pid"/fd/* | grep -q '[.]lock$' || fail "the server keeps the lock" || return
    run "$zkserver" --config conf stop
    expect_code 0 && gone "$pid" || fail "the server is still there" || return
    ! answers "$port" || fail "another server answers"
}

test_status_finds_the_port_where_the_server_does() {
    grep -qs . /proc/net/if_inet6 || { echo "skip  this machine has no IPv6" && return; }
    local address
    for address in ::1 "[::1]"; do
        configure
        sed -i "s/^clientPortAddress=.*/clientPortAddress = $address/" conf/zoo.cfg
        run "$zkserver" --config conf start
        expect_code 0 && expect_out "Starting zookeeper ... STARTED" || return
        run "$zkserver" --config conf status
        expect_code 0 && expect_out "Client port found: $port. Client address: ::1. Client SSL: false.
Mode: standalone" || return
        run "$zkserver" --config conf stop
        expect_code 0 || return
    done
}

# Upstream's words on the way to a port.
test_status_tells_where_it_looks() {
    configure
    sed -i '/^clientPort/d' conf/zoo.cfg
    local nowhere="Client port not found. Looking for secureClientPort in the static config.
Unable to find either secure or unsecure client port in any configs. Terminating."
    run "$zkserver" --config conf status
    expect_code 1 && expect_out "myid could not be determined, will not able to locate clientPort in the server configs.
$nowhere" || return
    mkdir data
    echo 1 >data/myid
    echo server.1=127.0.0.1:1:2 >>conf/zoo.cfg
    run "$zkserver" --config conf status
    expect_code 1 && expect_out "Client port not found in static config file. Looking in dynamic config file.
Client port not found in the server configs
$nowhere" || return
    sed -i "s|^server.*|dynamicConfigFile=$PWD/conf/members|" conf/zoo.cfg
    echo "server.1=127.0.0.1:1:2:participant;[::1]:$port" >conf/members
    run "$zkserver" --config conf status
    expect_code 1 && expect_out "Client port not found in static config file. Looking in dynamic config file.
Client port found: $port. Client address: ::1. Client SSL: false.
Error contacting service. It is probably not running."
}

test_start_without_a_client_port_does_not_wait_for_one() {
    configure
    sed -i '/^clientPort/d' conf/zoo.cfg
    local begin=$SECONDS
    run env ZOO_START_SECONDS=60 "$zkserver" --config conf start
    expect_code 0 && expect_out "Starting zookeeper ... STARTED" || return
    [ $((SECONDS - begin)) -lt 30 ] || fail "it waited $((SECONDS - begin)) s" || return
    run "$zkserver" --config conf stop
    expect_code 0
}

test_site_file_sets_what_the_server_logs() {
    configure
    # Without export, as upstream's scripts allow.
    printf '%s\n' MEERKAT_LOG_FORMAT=json MEERKAT_LOG=info ZOO_LOG_DIR="$PWD/elsewhere" >conf/zookeeper-env.sh
    run "$zkserver" --config conf start
    expect_code 0 || return
    grep -q '^{.*"serving clients"' elsewhere/*.out || fail "no JSON: $(cat elsewhere/*.out)" || return
    run "$zkserver" --config conf stop
    expect_code 0
}

# In a release too.
test_debug_shows_more() {
    configure
    MEERKAT_LOG=debug in_foreground conf/zoo.cfg
    wait_until answers "$port" || fail "no answer: $(tail -n 5 foreground.*)" || return
    wait_until grep -q ' DEBUG ' foreground.out || fail "nothing more: $(tail -n 5 foreground.out)"
}

# As in upstream's, a package may have the configuration there.
test_configuration_may_be_in_etc() {
    configure
    mkdir -p opt/bin opt/etc
    cp "$root"/bin/*.sh opt/bin
    mv conf opt/etc/zookeeper
    run opt/bin/zkServer.sh print-cmd
    expect_err "Using config: $PWD/opt/etc/zookeeper/zoo.cfg"
}

test_restart_keeps_the_configuration() {
    configure
    run "$zkserver" --config conf start
    expect_code 0 || return
    local before
    before=$(server_pid)
    run "$zkserver" --config conf restart
    expect_code 0 && expect_out "Stopping zookeeper ... STOPPED
Starting zookeeper ... STARTED" || return
    gone "$before" || fail "the old process is still there" || return
    answers "$port" || fail "the new process does not answer on port $port" || return
    run "$zkserver" --config conf stop
    expect_code 0
}

test_nothing_to_stop_or_ask() {
    configure
    run "$zkserver" --config conf stop
    expect_code 0 || return
    expect_out "Stopping zookeeper ... no zookeeper to stop (could not find file $PWD/data/zookeeper_server.pid)" || return
    run "$zkserver" --config conf status
    expect_code 1 && expect_out "Client port found: $port. Client address: 127.0.0.1. Client SSL: false.
Error contacting service. It is probably not running."
}

test_old_pid_file_of_another_process_is_no_server() {
    configure
    mkdir data
    # This shell is alive, and no server.
    echo -n $$ >data/zookeeper_server.pid
    run "$zkserver" --config conf start
    expect_code 0 && expect_out "Starting zookeeper ... STARTED" || return
    run "$zkserver" --config conf stop
    expect_code 0
}

test_old_pid_file_of_another_server_is_not_this_one() {
    configure
    run "$zkserver" --config conf start
    expect_code 0 || return
    local first first_port=$port
    first=$(server_pid)
    mkdir -p second/data && cd second || return
    configure
    echo -n "$first" >data/zookeeper_server.pid
    run "$zkserver" --config conf stop
    expect_code 0 && expect_out "Stopping zookeeper ... STOPPED" || return
    answers "$first_port" || fail "stop has ended another server" || return
    echo -n "$first" >data/zookeeper_server.pid
    run "$zkserver" --config conf start
    expect_code 0 && expect_out "Starting zookeeper ... STARTED" || return
    run "$zkserver" --config conf stop
    expect_code 0 || return
    # The same server by another name of the file, and by a path from elsewhere.
    cd ../conf && cp zoo.cfg other.cfg || return
    run "$zkserver" stop "$PWD/other.cfg"
    expect_code 0 && expect_out "Stopping zookeeper ... STOPPED" || return
    gone "$first" || fail "stop has forgotten its own server"
}

# Only root can be two users.
test_another_user_neither_stops_nor_starts_a_server() {
    [ "$(id -u)" = 0 ] || { echo "skip  this needs root" && return; }
    # A place that both may enter.
    chmod 755 "$work"
    mkdir -p opt/bin
    cp "$root"/bin/*.sh "$MEERKAT_BIN" opt/bin
    mv "opt/bin/$(basename "$MEERKAT_BIN")" opt/bin/zk-server 2>/dev/null
    zkserver=$PWD/opt/bin/zkServer.sh
    unset MEERKAT_BIN
    configure
    mkdir -m 777 logs
    local nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups) pid
    run "$zkserver" --config conf start
    expect_code 0 || return
    pid=$(server_pid)
    run "${nobody[@]}" "$zkserver" --config conf stop
    expect_code 1 && expect_out "Stopping zookeeper ... FAILED TO STOP (process $pid belongs to another user)" || return
    [ "$(server_pid)" = "$pid" ] && answers "$port" || fail "there is no pid file or no server any more" || return
    run "${nobody[@]}" "$zkserver" --config conf start
    expect_code 1 && expect_out "Starting zookeeper ... already running as process $pid." || return
    run "$zkserver" --config conf stop
    expect_code 0 || return
    run "${nobody[@]}" "$zkserver" --config conf start
    expect_code 1 && expect_out "Starting zookeeper ... FAILED TO WRITE PID" || return
    [ ! -e data/zookeeper_server.pid ] && ! answers "$port" || fail "it has started a server"
}

test_a_zombie_does_not_run() {
    configure
    mkdir data
    # Nobody asks how it ended.
    python3 -c 'import subprocess, sys, time
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
print(child.pid, end="", flush=True)
time.sleep(60)' "$MEERKAT_BIN" --version >data/zookeeper_server.pid &
    pids+=($!)
    is_zombie() {
        grep -q '^State:.Z' "/proc/$(server_pid)/status" 2>/dev/null
    }
    wait_until is_zombie || fail "it is none: $(server_pid)" || return
    run "$zkserver" --config conf stop
    expect_code 0 && expect_out "Stopping zookeeper ... STOPPED"
}

test_foreground_is_the_server_itself() {
    configure
    SERVER_JVMFLAGS="-Xmx1g -Dzookeeper.4lw.commands.whitelist=ruok" in_foreground conf/zoo.cfg
    wait_until answers "$port" || fail "no answer: $(tail -n 5 foreground.*)" || return
    [ "$(readlink "/proc/$foreground/exe")" = "$(readlink -f "$MEERKAT_BIN")" ] ||
        fail "process $foreground is $(readlink "/proc/$foreground/exe")" || return
    [ "$(ask "$port" ruok)" = imok ] || fail "SERVER_JVMFLAGS does not reach the server" || return
    kill "$foreground"
    wait_until gone "$foreground" || fail "SIGTERM does not end it" || return
    wait "$foreground"
    code=$? out='' err=$(<foreground.err)
    expect_code 0
}

test_without_configuration_this_machine_is_served() {
    export ZOO_LOG_DIR=$PWD/logs
    # Where no configuration has the usual name.
    local zkserver=$PWD/opt/bin/zkServer.sh
    mkdir -p opt/bin
    cp "$root"/bin/*.sh opt/bin
    ln -s "$MEERKAT_BIN" opt/bin/zk-server
    ! answers 2181 || fail "port 2181 is taken by another program" || return
    run "$zkserver" start
    expect_code 0 && expect_out "Starting zookeeper ... STARTED" && expect_err 127.0.0.1:2181 || return
    [ -d data ] || fail "there is no directory data beside where it was started" || return
    run "$zkserver" status
    expect_code 0 && expect_out "Client port found: 2181. Client address: 127.0.0.1. Client SSL: false.
Mode: standalone" || return
    run "$zkserver" stop
    expect_code 0
}

test_a_start_keeps_what_another_has_logged() {
    configure
    run "$zkserver" --config conf start
    expect_code 0 || return
    local before
    before=$(cat logs/*.out)
    mkdir second
    # It does not start, and the last lines that are shown are its own alone.
    sed "s|^dataDir=.*|dataDir=$PWD/second/data|" conf/zoo.cfg >second/zoo.cfg
    run "$zkserver" --config second start
    expect_code 1 || return
    [[ $(cat logs/*.out) == "$before"* ]] || fail "the first server's lines are gone: $(cat logs/*.out)" || return
    [[ $err != *"serving clients"* ]] && expect_err "cannot listen" || fail "stderr has another's lines: $err" || return
    run "$zkserver" --config conf stop
    expect_code 0
}

test_port_in_use_is_one_sentence() {
    configure
    run "$zkserver" --config conf start
    expect_code 0 || return
    mkdir second
    sed "s|^dataDir=.*|dataDir=$PWD/second/data|" conf/zoo.cfg >second/zoo.cfg
    run "$zkserver" --config second start
    expect_code 1 && expect_out "Starting zookeeper ... FAILED TO START" && expect_err "$port" || return
    [ ! -e second/data/zookeeper_server.pid ] || fail "a pid file of a server that did not start" || return
    answers "$port" || fail "the first server does not answer any more" || return
    run "$zkserver" --config conf stop
    expect_code 0
}

# A server that must not start, and what it should say. No stack trace, no more than a few lines.
refuses() {
    local expected_code=$1 sentence=$2
    shift 2
    configure "$@"
    run timeout 15 "$zkserver" start-foreground conf/zoo.cfg
    expect_code "$expected_code" && expect_err "$sentence" || return
    [ "$(wc -l <<<"$err")" -le 4 ] || fail "more than a sentence on stderr: $err"
}

# The log and stderr are one file below `start`: it is said there once.
test_a_failed_start_is_told_once() {
    configure tickTime=soon
    run "$zkserver" --config conf start
    expect_code 1 && expect_out "Starting zookeeper ... FAILED TO START" || return
    [ "$(grep -c 'For input string: "soon"' logs/*.out)" = 1 ] || fail "$(cat logs/*.out)" || return
    expect_err 'For input string: "soon"' && expect_err "Invalid config, exiting abnormally"
}

test_bad_value_is_one_sentence() {
    refuses 2 'tickTime: For input string: "soon"' tickTime=soon
}

test_unserved_security_is_refused() {
    refuses 1 'secureClientPort: not supported: TLS' secureClientPort=2281
}

test_server_that_is_no_member_is_refused() {
    mkdir data
    echo 7 >data/myid
    refuses 1 'My id 7 not in the peer list' initLimit=5 syncLimit=2 server.1=127.0.0.1:1:2 server.2=127.0.0.1:3:4 server.3=127.0.0.1:5:6
}

test_taken_peer_port_is_one_sentence() {
    configure
    run "$zkserver" --config conf start
    expect_code 0 || return
    local taken=$port first=$PWD
    mkdir -p second/data
    echo 1 >second/data/myid
    cd second || return
    refuses error "cannot listen on 127.0.0.1:$taken" initLimit=5 syncLimit=2 "server.1=127.0.0.1:$taken:2" server.2=127.0.0.1:3:4 server.3=127.0.0.1:5:6 || return
    cd "$first" || return
    run "$zkserver" --config conf stop
    expect_code 0
}

test_groups_are_refused() {
    mkdir data
    echo 1 >data/myid
    refuses error 'not supported' initLimit=5 syncLimit=2 server.1=127.0.0.1:1:2 server.2=127.0.0.1:3:4 server.3=127.0.0.1:5:6 group.1=1:2:3
}

# The embedded default is for those who have named nothing.
test_a_named_configuration_must_be_there() {
    export ZOO_LOG_DIR=$PWD/logs
    mkdir empty
    local named
    for named in "--config $PWD/empty" "ZOOCFGDIR=$PWD/empty" "ZOOCFG=other.cfg" "ZOOCFG=$PWD/other.cfg"; do
        local words=("$zkserver")
        # shellcheck disable=SC2206 # words
        case $named in --*) words+=($named) ;; *) words=(env "$named" "$zkserver") ;; esac
        run timeout 15 "${words[@]}" start-foreground
        expect_code 2 && expect_err "file is missing" || return
        run "${words[@]}" start
        expect_code 1 && expect_err "file is missing" && expect_out "" || return
    done
    [ ! -e data ] || fail "a server without configuration was here"
}

test_missing_file_is_one_sentence() {
    run timeout 15 "$zkserver" start-foreground "$PWD/none.cfg"
    expect_code 2 && expect_err "none.cfg"
}

test_unusable_data_directory_is_one_sentence() {
    # A file where the directory should be stops root too.
    : >file
    refuses 3 "$PWD/file" "dataDir=$PWD/file/data"
}

test_no_directory_is_made_where_that_is_switched_off() {
    export ZOO_DATADIR_AUTOCREATE_DISABLE=1
    refuses 3 "Missing data directory $PWD/data, automatic data directory creation is disabled (zookeeper.datadir.autocreate is false). Please create this directory manually." || return
    [ ! -e data ] || fail "it was made" || return
    mkdir data
    in_foreground conf/zoo.cfg
    wait_until answers "$port" || fail "no answer: $(tail -n 5 foreground.*)"
}

test_zookeepers_data_is_not_begun_beside() {
    mkdir -p data/version-2 log
    : >data/version-2/snapshot.0
    refuses 3 "take it over with \`zk-server import $PWD/data --from-log $PWD/log --config zoo.cfg\`" dataLogDir="$PWD/log"
}

test_server_tells_how_it_is_used() {
    local option word
    for option in --help -h; do
        run "$MEERKAT_BIN" "$option"
        expect_code 0 && [ -z "$err" ] || fail "stderr: $err" || return
        for word in ZOO_CFG import export restore check txn-log-toolkit --version; do
            grep -q -- "$word" <<<"$out" || fail "$option says nothing of $word" || return
        done
    done
}

test_print_cmd_and_version() {
    configure
    run "$zkserver" --config conf print-cmd
    expect_code 0 || return
    expect_out "\"$MEERKAT_BIN\" \"conf/zoo.cfg\" >> \"$ZOO_LOG_DIR/zookeeper-${USER:-$(id -un)}-server-${HOSTNAME:-$(hostname)}.out\" 2>&1 < /dev/null" || return
    run "$zkserver" --config conf version
    expect_code 0 || return
    grep -qE '[0-9]+\.[0-9]+\.[0-9]+' <<<"$out" || fail "no version in: $out"
}

test_unknown_command_gets_the_usage() {
    run "$zkserver" dance
    expect_code 2 || return
    expect_err "Usage: $zkserver [--config <conf-dir>] {start|start-foreground|stop|version|restart|status|print-cmd}"
}
