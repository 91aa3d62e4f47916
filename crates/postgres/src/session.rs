//! Snapshots: one session exports, others join.
