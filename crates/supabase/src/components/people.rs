//! Users, identities, sessions, roles.

use basekeep_postgres::Error;

use super::Reading;
use crate::platform;

impl Reading<'_, '_> {
    pub(super) async fn people(&mut self) -> Result<(), Error> {
        match self.probe.counts("the number of users", USERS_BY_HASH).await? {
            Some(users) => {
                self.found.counts.insert("users", users.values().sum());
                self.found.users_by_hash = users;
            }
            None => self.refused("users"),
        }
        for (column, name, words) in [
            ("auth.users.is_anonymous", "users_anonymous", "anonymous users"),
            ("auth.users.is_sso_user", "users_sso", "users of single sign-on"),
        ] {
            if self.project.has_column(column) {
                let column = column.trim_start_matches("auth.users.");
                let sql = format!("SELECT count(*) FROM auth.users WHERE {column}");
                self.number(name, words, &sql).await?;
            }
        }
        if self.project.has("auth.identities") {
            match self.probe.counts("the number of identities", IDENTITIES).await? {
                Some(identities) => {
                    self.found.counts.insert("identities", identities.values().sum());
                    self.found.identities_by_provider = identities;
                }
                None => self.refused("identities"),
            }
        }
        self.rows_of("mfa_factors", "auth.mfa_factors", "second factors").await?;
        self.rows_of("sessions", "auth.sessions", "sessions").await?;
        self.rows_of("sso_providers", "auth.sso_providers", "providers of single sign-on").await?;
        self.roles().await
    }

    async fn roles(&mut self) -> Result<(), Error> {
        let Some(rows) = self.probe.rows("the number of roles", ROLES).await? else { return Ok(()) };
        let (mut own, mut platform) = (0, 0);
        for row in &rows {
            let name: String = row.parse(0)?;
            *(if platform::is_platform_role(&name) { &mut platform } else { &mut own }) += 1;
        }
        self.found.counts.insert("roles", own);
        self.found.counts.insert("platform_roles", platform);
        self.number("memberships", "memberships", MEMBERSHIPS).await
    }
}

/// By what stands before the hash. GoTrue makes bcrypt and accepts argon2 and Firebase's scrypt; `crypt()` of pgcrypto makes
/// bcrypt too, and the older forms that are told here.
const USERS_BY_HASH: &str = r"SELECT CASE
    WHEN coalesce(encrypted_password, '') = '' THEN 'none'
    WHEN encrypted_password ~ '^\$2[abxy]?\$' THEN 'bcrypt'
    WHEN encrypted_password LIKE '$argon2id$%' THEN 'argon2id'
    WHEN encrypted_password LIKE '$argon2i$%' THEN 'argon2i'
    WHEN encrypted_password LIKE '$argon2%' THEN 'argon2'
    WHEN encrypted_password LIKE '$fbscrypt$%' THEN 'fbscrypt'
    WHEN encrypted_password ~ '^\$(scrypt|7)\$' THEN 'scrypt'
    WHEN encrypted_password LIKE '$1$%' THEN 'md5-crypt'
    WHEN encrypted_password LIKE '$5$%' THEN 'sha256-crypt'
    WHEN encrypted_password LIKE '$6$%' THEN 'sha512-crypt'
    WHEN encrypted_password ~ '^_[./0-9A-Za-z]{19}$' THEN 'xdes-crypt'
    ELSE 'other' END, count(*)
  FROM auth.users GROUP BY 1";
const IDENTITIES: &str = "SELECT coalesce(provider, 'unknown'), count(*) FROM auth.identities GROUP BY 1";
const ROLES: &str = "SELECT rolname FROM pg_catalog.pg_roles WHERE rolname !~ '^pg_'";
const MEMBERSHIPS: &str = "SELECT count(*) FROM pg_catalog.pg_auth_members m
  JOIN pg_catalog.pg_roles r ON r.oid = m.member WHERE r.rolname !~ '^pg_'";
