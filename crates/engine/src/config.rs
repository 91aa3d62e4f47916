//! `basekeep.toml`: reading, checking and resolving it.
