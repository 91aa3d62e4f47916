//! `globals.json`: roles, memberships and settings for programs; `globals.sql` says the same for people and psql.
