# shellcheck shell=bash disable=SC2154 # what ../run sets
# The unit for systemd.

unit=$root/conf/meerkat.service

test_systemd_understands_the_unit() {
    "$root/.build/packages" systemd || fail "no systemd to ask" || return
    # Its paths are those of a package.
    sed "s#/usr/lib/meerkat/bin#$root/bin#" "$unit" >meerkat.service
    run systemd-analyze verify --man=no "$PWD/meerkat.service"
    # It also looks at what else this machine has.
    err=$(grep -F meerkat.service <<<"$err")
    [ -z "$err" ] || fail "$err"
}

# The unit starts again what may work the next time, and not what cannot.
test_unit_restarts_what_may_work_the_next_time() {
    grep -qx 'StartLimitIntervalSec=0' "$unit" && grep -qx 'Restart=on-failure' "$unit" || fail "it gives up" || return
    grep -qx 'RestartPreventExitStatus=2 3' "$unit" || fail "it starts a bad configuration for ever"
}

# What systemd waits for with Type=notify.
test_the_server_says_when_it_serves() {
    configure
    cat >listen.py <<'END'
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
print("bound", flush=True)
s.settimeout(30)
print(s.recv(1000).decode().strip(), flush=True)
END
    python3 listen.py "$PWD/notify" >heard 2>&1 &
    pids+=($!)
    wait_until grep -qs bound heard || fail "no socket: $(cat heard)" || return
    NOTIFY_SOCKET=$PWD/notify in_foreground "$PWD/conf/zoo.cfg"
    wait_until grep -q READY=1 heard || fail "it said: $(cat heard)" || return
    answers "$port" || fail "it said so before it served"
}
