//! What Supabase adds to Postgres: which objects are the platform's, and what of a project lies outside the database.
//!
//! It knows nothing of plans, manifests and printing; the engine puts its pieces into backups and restores.

pub mod components;
pub mod live;
pub mod management;
pub mod objects;
pub mod permissions;
pub mod platform;
pub mod probe;
pub mod project;
pub mod recognize;
pub mod services;
pub mod storage;
