//! Names that belong to the platform: a restore never creates, alters or removes them.
//!
//! From `supabase/postgres` (roles, init scripts, supautils settings) and the migrations of `supabase/auth`,
//! `supabase/storage` and `supabase/realtime`.

/// Roles that every project has, or that only the platform makes.
const ROLES: [&str; 8] = [
    "anon",
    "authenticated",
    "authenticator",
    "dashboard_user",
    "pgbouncer",
    "pgtle_admin",
    "postgres",
    "service_role",
];
const ROLE_PREFIXES: [&str; 3] = ["supabase_", "pgsodium_", "cli_login_"];

/// Schemas whose definitions are the platform's. Their rows, and the user's objects in them, are the user's.
const SCHEMAS: [&str; 20] = [
    "_analytics",
    "_realtime",
    "_supavisor",
    "auth",
    "cron",
    "etl",
    "extensions",
    "graphql",
    "graphql_public",
    "net",
    "pgbouncer",
    "pgmq",
    "pgsodium",
    "pgsodium_masks",
    "pgtle",
    "realtime",
    "storage",
    "supabase_functions",
    "supabase_migrations",
    "vault",
];

/// Whether the role is the platform's.
pub fn is_platform_role(name: &str) -> bool {
    ROLES.contains(&name)
        || ROLE_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || name.starts_with("pg_")
}

/// The platform's schemas, sorted.
pub fn schemas() -> impl Iterator<Item = &'static str> {
    SCHEMAS.iter().copied()
}

/// Whether the schema's definition is the platform's.
pub fn is_platform_schema(name: &str) -> bool {
    SCHEMAS.contains(&name)
}

/// The platform's schemas as a text array's literal, for queries.
pub(crate) fn schemas_array() -> String {
    format!("'{{{}}}'", SCHEMAS.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platform_names_are_told_from_a_users() {
        for role in
            ["anon", "supabase_storage_admin", "cli_login_postgres", "pgsodium_keyholder", "pg_monitor"]
        {
            assert!(is_platform_role(role), "{role}");
        }
        for role in ["app", "anonymous", "my_supabase_", "postgres2"] {
            assert!(!is_platform_role(role), "{role}");
        }
        assert!(
            is_platform_schema("auth") && !is_platform_schema("public") && !is_platform_schema("authors")
        );
    }
}
