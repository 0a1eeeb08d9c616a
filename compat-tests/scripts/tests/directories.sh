# shellcheck shell=bash disable=SC2154 # what ../run sets
# zkServer-initialize.sh and zkCleanup.sh.

initialize=$root/bin/zkServer-initialize.sh
cleanup=$root/bin/zkCleanup.sh

test_initialize_makes_a_place_that_a_server_starts_in() {
    configure dataLogDir="$PWD/datalog"
    run "$initialize" --configfile=conf/zoo.cfg --myid=7
    expect_code 0 && expect_out "Using myid of 7" || return
    [ "$(cat data/myid)" = 7 ] && [ -d datalog ] || fail "no myid or no dataLogDir" || return
    run "$initialize" --configfile=conf/zoo.cfg --myid=8
    expect_code 1 || return
    expect_out "ZooKeeper data directory already exists at $PWD/data (or use --force to force re-initialization)" || return
    [ "$(cat data/myid)" = 7 ] || fail "myid is $(cat data/myid)" || return
    run "$zkserver" --config conf start
    expect_code 0 || return
    run "$initialize" --configfile=conf/zoo.cfg --force
    expect_code 1 || return
    grep -q "stop it first" <<<"$out" || fail "data of a running server may be thrown away: $out" || return
    run "$zkserver" --config conf stop
    expect_code 0 || return
    run "$initialize" --configfile=conf/zoo.cfg
    expect_code 1 || return
    expect_out "ZooKeeper data directory already exists at $PWD/data (or use --force to force re-initialization)" || return
    run "$initialize" --configfile=conf/zoo.cfg --force
    expect_code 0 || return
    expect_out "Force enabled, data/txnlog directories will be re-initialized
No myid provided, be sure to specify it in $PWD/data/myid if using non-standalone" || return
    local left
    # A lock that is removed locks nobody out.
    left=$(find data datalog -mindepth 1 ! -name zookeeper_server.pid.lock)
    [ -z "$left" ] || fail "something is left: $left"
}

test_initialize_spares_a_server_without_a_pid_file() {
    configure dataLogDir="$PWD/datalog"
    in_foreground conf/zoo.cfg
    wait_until answers "$port" || fail "no answer: $(tail -n 5 foreground.*)" || return
    run "$initialize" --configfile=conf/zoo.cfg --force
    expect_code 1 && expect_out "a server runs on $PWD/data as process $foreground; stop it first" || return
    [ -d datalog/log ] || fail "its log is gone" || return
    kill "$foreground"
    wait "$foreground"
    # What an old file names by now is nobody's server.
    echo -n $$ >data/zookeeper_server.pid
    run "$initialize" --configfile=conf/zoo.cfg --force
    expect_code 0 && [ ! -e datalog/log ] || fail "it is not made anew"
}

test_initialize_says_what_is_wrong() {
    configure
    run "$initialize" --configfile=conf/none.cfg
    expect_code 1 && expect_out "Unable to find config file at conf/none.cfg" || return
    run "$initialize" --configfile=conf/zoo.cfg --myid=256
    expect_code 1 || return
    [ ! -e data/myid ] || fail "myid 256 was written" || return
    run "$initialize" --bogus
    expect_code 1 || return
    [ "$(head -n 2 <<<"$out")" = "Unknown option: --bogus
usage: $initialize <parameters>" ] || fail "stdout: $out"
}

test_cleanup_keeps_the_newest_snapshots() {
    configure
    mkdir -p data/snapshots
    local names=() at
    for at in 1 2 9 a 10; do
        names+=("snapshot.0000000000000001.$(printf '%016x' $((16#$at)))")
    done
    touch -d '2026-11-22 23:04:19' "${names[@]/#/data/snapshots/}"
    touch data/snapshots/unfinished.0000000000000001.0000000000000000
    ZOOCFGDIR=$PWD/conf run "$cleanup" -n 3
    expect_code 0 || return
    expect_out "Removing file: Nov 22, 2026, 11:04:19 PM	$PWD/data/snapshots/${names[0]}
Removing file: Nov 22, 2026, 11:04:19 PM	$PWD/data/snapshots/${names[1]}" || return
    local left=(data/snapshots/*)
    [ ${#left[@]} = 4 ] || fail "left are: ${left[*]}"
}

test_cleanup_wants_a_number_from_three() {
    configure
    local arguments
    for arguments in "" "-n" "-n 2" "-x" "-n three"; do
        # shellcheck disable=SC2086 # words
        ZOOCFGDIR=$PWD/conf run "$cleanup" $arguments
        expect_code 1 || return
        [ "$(sed -n 2p <<<"$out")" = "PurgeTxnLog dataLogDir [snapDir] -n count" ] || fail "stdout: $out" || return
    done
}
