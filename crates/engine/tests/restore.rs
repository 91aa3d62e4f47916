//! A backup and a restore give the same database; what fails is named, and nothing else suffers from it.

mod beside;
mod each_part;
mod failures;
mod fast;
mod interrupts;
mod kills;
mod left_alone;
mod names;
mod parts;
mod round_trip;
mod supabase;
mod supabase_complaints;
mod supabase_targets;
mod targets;
mod unprivileged;
