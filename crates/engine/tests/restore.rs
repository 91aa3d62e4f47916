//! A backup and a restore give the same database; what fails is named, and nothing else suffers from it.

mod round_trip;
