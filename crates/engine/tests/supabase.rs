//! What a backup of a Supabase project holds beside the database's archive.

mod database;
mod management;
mod project;
mod survey;
