//! The archive model against real servers, real pg_dump and real pg_restore.

mod cluster;
mod comparing;
mod damage;
mod entries;
mod extensions;
mod facts;
mod restoring;
mod round_trip;
mod sources;
mod stock;
