# Sourced before any call of cargo by a script: where built things are kept between runs and clones.
#
# Sets MEERKAT_ROOT, MEERKAT_CACHE, CARGO_TARGET_DIR, ROCKSDB_LIB_DIR and ROCKSDB_STATIC. What the
# caller has already set stays. The first time, this installs packages and builds RocksDB, which
# takes long; all that is said goes to stderr.

MEERKAT_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export MEERKAT_CACHE=${MEERKAT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/meerkat}
# Dependencies come compiled from that directory, or from nothing at all: leftovers of edits do not pay.
export CARGO_INCREMENTAL=${CARGO_INCREMENTAL:-0}

# One target directory for all clones, so that a fresh clone compiles only what is its own. Cargo
# tells our crates of two clones apart by nothing but the time of their files, so it would take the
# build of one for that of the other: one clone at a time, and what another left of ours goes away.
if [ -z "${CARGO_TARGET_DIR:-}" ]; then
    export CARGO_TARGET_DIR=$MEERKAT_CACHE/target
    mkdir -p "$CARGO_TARGET_DIR"
    # Held until the script that sources this ends.
    exec 8>"$CARGO_TARGET_DIR/lock"
    if ! flock -n 8; then
        echo "Another build or test run uses $CARGO_TARGET_DIR; waiting for it." >&2
        flock 8
    fi
    if [ "$(cat "$CARGO_TARGET_DIR/clone" 2>/dev/null)" != "$MEERKAT_ROOT" ]; then
        for profile in dev release; do
            (cd "$MEERKAT_ROOT" && cargo clean -q --locked --profile $profile \
                -p meerkat -p meerkat-jute -p meerkat-compat-tests) || return 1
        done
        echo "$MEERKAT_ROOT" >"$CARGO_TARGET_DIR/clone"
    fi
fi

if [ ! -e "${ROCKSDB_LIB_DIR:-}/librocksdb.a" ]; then
    "$MEERKAT_ROOT/.build/packages" || return 1
    ROCKSDB_LIB_DIR=$("$MEERKAT_ROOT/.build/rocksdb") || return 1
fi
export ROCKSDB_LIB_DIR ROCKSDB_STATIC=1
