//! `[dashboard]` and its users.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Reader;
use crate::EngineError;
use crate::config::{DashboardEntry, DashboardUser, span};

const KEYS: [&str; 5] = ["public_url", "hosts", "session_idle", "session_lifetime", "user"];
const USER_KEYS: [&str; 3] = ["role", "password_hash", "token_hash"];

impl Reader<'_> {
    pub(super) fn dashboard(&self, value: &Spanned<DeValue<'_>>) -> Result<DashboardEntry, EngineError> {
        let table = self.table(value, "dashboard")?;
        self.check_keys(table, "in [dashboard]", &KEYS)?;
        let mut users = Vec::new();
        for (name, value) in self.sections(table, "user")? {
            users.push(self.dashboard_user(name.get_ref(), name.span().start, value)?);
        }
        let hosts = self.strings(table, "hosts")?.into_iter().map(|(_, host)| host.to_owned()).collect();
        Ok(DashboardEntry {
            public_url: self.string(table, "public_url")?.map(str::to_owned),
            hosts,
            session_idle: self.parsed(table, "session_idle", span)?,
            session_lifetime: self.parsed(table, "session_lifetime", span)?,
            users,
        })
    }

    fn dashboard_user(
        &self,
        name: &str,
        at: usize,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<DashboardUser, EngineError> {
        let section = format!("dashboard.user.{name}");
        let table: &DeTable<'_> = self.table(value, &section)?;
        self.check_keys(table, &format!("in [{section}]"), &USER_KEYS)?;
        let role = self.parsed(table, "role", |role| match role {
            "viewer" => Ok(false),
            "operator" => Ok(true),
            other => Err(format!("'{}' is no role; write viewer or operator", other.escape_debug())),
        })?;
        let operator = role.ok_or_else(|| {
            self.wrong(at, format!("[{section}] has no role"))
                .hint("add role = \"viewer\" or role = \"operator\"")
        })?;
        let text = |key| Ok::<_, EngineError>(self.string(table, key)?.map(str::to_owned));
        let user = DashboardUser {
            name: name.to_owned(),
            operator,
            password_hash: text("password_hash")?,
            token_hash: text("token_hash")?,
        };
        if user.password_hash.is_none() && user.token_hash.is_none() {
            return Err(self
                .wrong(at, format!("[{section}] cannot log in: it has neither password_hash nor token_hash"))
                .hint("`basekeep dashboard password` and `basekeep dashboard token` make them"));
        }
        Ok(user)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use basekeep_postgres::Environment;

    use crate::config::Config;

    fn read(text: &str) -> Result<Config, crate::EngineError> {
        Config::parse(text, Path::new("/p/basekeep.toml"), &Environment::default())
    }

    #[test]
    fn users_have_a_role_and_a_way_to_log_in() {
        let text = "[dashboard]\npublic_url = \"https://b.example\"\nhosts = [\"b\"]\nsession_idle = \"10s\"\n\
                    [dashboard.user.ada]\nrole = \"operator\"\npassword_hash = \"x\"\n\
                    [dashboard.user.ci]\nrole = \"viewer\"\ntoken_hash = \"y\"\n";
        let entry = read(text).unwrap().dashboard;
        assert_eq!((entry.session_idle, entry.session_lifetime), (Some(Duration::from_secs(10)), None));
        let users: Vec<_> = entry.users.iter().map(|user| (user.name.as_str(), user.operator)).collect();
        assert_eq!(users, [("ada", true), ("ci", false)]);
        for (wrong, why) in [
            ("[dashboard.user.a]\npassword_hash = \"x\"\n", "has no role"),
            ("[dashboard.user.a]\nrole = \"admin\"\n", "'admin' is no role"),
            ("[dashboard.user.a]\nrole = \"viewer\"\n", "cannot log in"),
            ("[dashboard]\nlisten = \"x\"\n", "unknown key `listen`"),
        ] {
            let error = read(wrong).unwrap_err();
            assert!(error.message().contains(why), "{error}");
        }
    }
}
