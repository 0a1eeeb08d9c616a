# shellcheck shell=bash disable=SC2154 # what ../run sets
# The entry point of a container, by itself, and what the Dockerfile says.

entry=$root/bin/docker-entrypoint.sh

# A container's directories, below the current one. Further words are variables.
in_container() {
    env -i PATH="$root/bin:$PATH" HOME="$PWD" MEERKAT_BIN="$MEERKAT_BIN" ZOO_CONF_DIR="$PWD/conf" ZOOCFGDIR=/conf \
        ZOO_DATA_DIR="$PWD/data" ZOO_DATA_LOG_DIR="$PWD/datalog" ZOO_LOG_DIR="$PWD/logs" "$@"
}

directories() {
    mkdir conf data datalog logs
}

expect_config() {
    local expected
    expected=$(printf '%s\n' "$@")
    [ "$(cat conf/zoo.cfg)" = "$expected" ] || fail "$(diff <(echo "$expected") conf/zoo.cfg)"
}

test_entry_point_writes_what_the_official_image_writes() {
    directories
    run in_container "$entry" echo started
    expect_code 0 && expect_out started || return
    expect_config "dataDir=$PWD/data" "dataLogDir=$PWD/datalog" tickTime=2000 initLimit=5 syncLimit=2 \
        autopurge.snapRetainCount=3 autopurge.purgeInterval=0 maxClientCnxns=60 standaloneEnabled=true \
        admin.enableServer=true "server.1=localhost:2888:3888;2181" || return
    [ "$(cat data/myid)" = 1 ] || fail "myid is $(cat data/myid)"
}

test_entry_point_obeys_each_variable() {
    directories
    run in_container ZOO_MY_ID=3 ZOO_TICK_TIME=500 ZOO_INIT_LIMIT=9 ZOO_SYNC_LIMIT=8 \
        ZOO_AUTOPURGE_SNAPRETAINCOUNT=7 ZOO_AUTOPURGE_PURGEINTERVAL=6 ZOO_MAX_CLIENT_CNXNS=5 \
        ZOO_STANDALONE_ENABLED=false ZOO_ADMINSERVER_ENABLED=false "ZOO_4LW_COMMANDS_WHITELIST=srvr, mntr" \
        "ZOO_SERVERS=server.1=a:2888:3888;2181 server.2=b:2888:3888:observer;2181
server.3=[::1]:2888:3888;2181" \
        "ZOO_CFG_EXTRA=snapCount=9 metricsProvider.httpPort=7000  audit.enable=true" "$entry" true
    expect_code 0 || return
    expect_config "dataDir=$PWD/data" "dataLogDir=$PWD/datalog" tickTime=500 initLimit=9 syncLimit=8 \
        autopurge.snapRetainCount=7 autopurge.purgeInterval=6 maxClientCnxns=5 standaloneEnabled=false \
        admin.enableServer=false "server.1=a:2888:3888;2181" "server.2=b:2888:3888:observer;2181" \
        "server.3=[::1]:2888:3888;2181" "4lw.commands.whitelist=srvr, mntr" snapCount=9 \
        metricsProvider.httpPort=7000 audit.enable=true || return
    [ "$(cat data/myid)" = 3 ] || fail "myid is $(cat data/myid)"
}

test_entry_point_keeps_what_is_there() {
    directories
    echo mine >conf/zoo.cfg
    echo 9 >data/myid
    run in_container ZOO_MY_ID=3 ZOO_TICK_TIME=500 "$entry" true
    expect_code 0 && expect_config mine || return
    [ "$(cat data/myid)" = 9 ] || fail "myid is $(cat data/myid)"
}

test_entry_point_tells_when_it_cannot_write() {
    mkdir data
    run in_container ZOO_CONF_DIR="$PWD/none" "$entry" echo started
    expect_code error && expect_err "none/zoo.cfg" || return
    [ -z "$out" ] || fail "it went on: $out"
}

test_containers_form_an_ensemble_and_stop_when_told() {
    local id servers="" client=() peers=()
    for id in 1 2 3; do
        wait_until free_port
        client[id]=$port
        wait_until free_port
        servers+="server.$id=127.0.0.1:$port:$((port + 10000));127.0.0.1:${client[id]} "
    done
    for id in 1 2 3; do
        mkdir "$id"
        (
            cd "$id" && directories
            # The process becomes the server: a signal to it arrives.
            exec env -i PATH="$root/bin:$PATH" MEERKAT_BIN="$MEERKAT_BIN" ZOO_CONF_DIR="$PWD/conf" ZOOCFGDIR=/conf \
                ZOO_DATA_DIR="$PWD/data" ZOO_DATA_LOG_DIR="$PWD/datalog" ZOO_LOG_DIR="$PWD/logs" \
                ZOO_MY_ID="$id" ZOO_SERVERS="$servers" ZOO_ADMINSERVER_ENABLED=false \
                "$entry" zkServer.sh start-foreground
        ) >"$id/out" 2>&1 </dev/null &
        pids+=($!)
        peers[id]=$!
    done
    serve() {
        local id roles=""
        for id in 1 2 3; do
            roles+="$(ask "${client[id]}" srvr | sed -n 's/^Mode: //p') "
        done
        [ "$(tr ' ' '\n' <<<"$roles" | grep . | sort | xargs)" = "follower follower leader" ]
    }
    wait_until serve || fail "no ensemble: $(tail -n 3 ./*/out)" || return
    for id in 1 2 3; do
        kill "${peers[id]}"
    done
    for id in 1 2 3; do
        wait "${peers[id]}"
        code=$?
        [ "$code" = 0 ] || fail "server $id ended with $code: $(tail -n 3 "$id/out")" || return
    done
}

# Process 1 gets no signal that it does not catch, and it may have much to read before it serves.
test_process_1_stops_while_it_recovers() {
    configure admin.enableServer=false
    mkdir -p data/snapshots
    # Nobody writes into it, so recovery does not end.
    mkfifo data/snapshots/snapshot.0000000000000001.0000000000000009
    local namespace=(unshare --pid --fork --kill-child) server
    [ "$(id -u)" = 0 ] || namespace+=(--user --map-root-user)
    "${namespace[@]}" "$MEERKAT_BIN" "$PWD/conf/zoo.cfg" >out 2>&1 </dev/null &
    pids+=($!)
    reading() {
        server=$(cat "/proc/$1/task/$1/children") && server=${server% } && [ -n "$server" ] &&
            readlink "/proc/$server"/fd/* | grep -q '/log/LOCK$' && (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null
    }
    wait_until reading $! || fail "it does not recover: $(tail -n 3 out)" || return
    [ "$(awk '/^NSpid/ {print $3}' "/proc/$server/status")" = 1 ] || fail "it is not process 1" || return
    kill "$server"
    wait_until gone "$server" || fail "SIGTERM is lost: $(tail -n 3 out)" || return
    wait $!
    code=$? out='' err=$(<out)
    expect_code 0
}

test_dockerfile_names_what_is_there() {
    local file=$root/conf/Dockerfile name
    for name in $(sed -n 's/^COPY \([^-.][^ ]*\) .*/\1/p' "$file"); do
        [ -e "$root/$name" ] || fail "COPY $name: there is no such thing" || return
    done
    for name in $(sed -n 's/^\(ENTRYPOINT\|CMD\) \["\([^"]*\)".*/\2/p' "$file"); do
        [ -x "$root/bin/$name" ] || fail "$name is no script of ours" || return
    done
    # What is built there, and where the scripts look for it.
    grep -q '^    .build/binary zk-server && .build/binary zk-cli ' "$file" && grep -q '/src/target/zk-server /src/target/zk-cli /opt/meerkat/bin/' "$file" ||
        fail "the binaries are not where the scripts look for them" || return
    # Where ZooKeeper's image has its entry point, which others begin with.
    grep -q 'ln -s /opt/meerkat/bin/docker-entrypoint.sh /docker-entrypoint.sh' "$file" || fail "no /docker-entrypoint.sh" || return
    # All directories of the entry point are made, and given to the user.
    for name in $(grep -o ':=/[a-z]*' "$entry" | sed 's/:=//'); do
        grep -q "install -d -o zookeeper -g zookeeper.* $name\( \|$\)" "$file" || fail "$name is not made" || return
    done
}

# An installation: scripts with the binaries beside them, and no source.
test_scripts_work_without_a_source_tree() {
    mkdir -p opt/bin
    cp "$root"/bin/*.sh opt/bin
    cp "$MEERKAT_BIN" opt/bin/zk-server
    configure
    run env -u MEERKAT_BIN opt/bin/zkServer.sh --config conf start
    expect_code 0 || return
    run env -u MEERKAT_BIN opt/bin/zkServer.sh version
    expect_code 0 || return
    grep -qE '^Meerkat, version [0-9]+\.[0-9]+\.[0-9]+$' <<<"$out" || fail "no version in: $out" || return
    run env -u MEERKAT_BIN opt/bin/zkServer.sh --config conf stop
    expect_code 0
}

# Debian 12 has libclang under names that other releases lack.
test_packages_know_libclang_by_its_other_name() {
    mkdir shims
    printf '#!/bin/sh\nexit 1\n' >shims/dpkg-query
    cp shims/dpkg-query shims/apt-cache
    # Takes what such a release has, and tells what it was asked for.
    printf '%s\n' '#!/bin/sh' "case \$* in *libclang1-14*) exit 100 ;; esac" "echo \"\$@\" >>$PWD/asked" >shims/apt-get
    cp shims/apt-get shims/sudo
    chmod +x shims/*
    PATH=$PWD/shims:$PATH run "$root/.build/packages" libclang1-14 libclang-common-14-dev some-package
    expect_code 0 || return
    grep -q ' install libclang-dev some-package$' asked || fail "asked for: $(cat asked)"
}
