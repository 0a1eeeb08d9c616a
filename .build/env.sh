# Sourced before any call of cargo by a script: where built things are kept between runs and clones.
#
# Sets MEERKAT_ROOT, MEERKAT_CACHE, CARGO_TARGET_DIR, ROCKSDB_LIB_DIR and ROCKSDB_STATIC. What the
# caller has already set stays. The first time, this installs packages and builds RocksDB, which
# takes long; all that is said goes to stderr.

MEERKAT_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export MEERKAT_CACHE=${MEERKAT_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/meerkat}
# Outside the clone, so that a fresh clone compiles only what is its own.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$MEERKAT_CACHE/target}
# Dependencies come compiled from that directory, or from nothing at all: leftovers of edits do not pay.
export CARGO_INCREMENTAL=${CARGO_INCREMENTAL:-0}

if [ ! -e "${ROCKSDB_LIB_DIR:-}/librocksdb.a" ]; then
    "$MEERKAT_ROOT/.build/packages" || return 1
    ROCKSDB_LIB_DIR=$("$MEERKAT_ROOT/.build/rocksdb") || return 1
fi
export ROCKSDB_LIB_DIR ROCKSDB_STATIC=1
