//! Roles, memberships, tablespaces and settings of the database.
