//! ZooKeeper wire records.
