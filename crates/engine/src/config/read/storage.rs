//! `[repository]` and `[[replica]]`.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Reader, expand};
use crate::EngineError;
use crate::config::{ReplicaEntry, RepositoryEntry, StorageEntry, is_url, size};

const REPOSITORY_KEYS: [&str; 14] = [
    "url",
    "password_env",
    "password_file",
    "password_command",
    "endpoint",
    "region",
    "profile",
    "path_style",
    "access_key_env",
    "secret_key_env",
    "session_token_env",
    "limit_upload",
    "limit_download",
    "append_only",
];

impl Reader<'_> {
    pub(super) fn repository(&self, table: &DeTable<'_>) -> Result<RepositoryEntry, EngineError> {
        self.check_keys(table, "in [repository]", &REPOSITORY_KEYS)?;
        let url = self.place_of_repository(table)?;
        Ok(RepositoryEntry { url, password: self.password(table)?, storage: self.storage(table)? })
    }

    pub(super) fn replicas(
        &self,
        value: &Spanned<DeValue<'_>>,
        repository: &RepositoryEntry,
    ) -> Result<Vec<ReplicaEntry>, EngineError> {
        let sections = || self.wrong(value.span().start, "replicas are sections of the form [[replica]]");
        let DeValue::Array(values) = value.get_ref() else { return Err(sections()) };
        let mut replicas: Vec<ReplicaEntry> = Vec::with_capacity(values.len());
        for value in values.iter() {
            let at = value.span().start;
            let DeValue::Table(table) = value.get_ref() else { return Err(sections()) };
            let replica = self.replica(at, table)?;
            if repository.url.as_ref() == Some(&replica.url) {
                return Err(self.wrong(at, format!("the replica {} is the repository itself", replica.url)));
            }
            if replicas.iter().any(|other| other.url == replica.url) {
                return Err(self.wrong(at, format!("there are two replicas at {}", replica.url)));
            }
            if replicas.iter().any(|other| other.name == replica.name) {
                return Err(self
                    .wrong(at, format!("there are two replicas with the name '{}'", replica.name))
                    .hint("give one of them another one: name = \"…\""));
            }
            replicas.push(replica);
        }
        Ok(replicas)
    }

    fn replica(&self, at: usize, table: &DeTable<'_>) -> Result<ReplicaEntry, EngineError> {
        let mut known = vec!["name"];
        known.extend(REPOSITORY_KEYS);
        self.check_keys(table, "in [[replica]]", &known)?;
        let url = self.place_of_repository(table)?.ok_or_else(|| {
            self.wrong(at, "[[replica]] has no url").hint("add a line such as url = \"s3://bucket/backups\"")
        })?;
        let name = match self.string(table, "name")? {
            Some(name) if is_plain(name) => name.to_owned(),
            Some(name) => {
                let problem = format!("'{}' cannot be a replica's name", name.escape_debug());
                return Err(self
                    .wrong(self.position(table, "name"), problem)
                    .hint("use letters, digits, '-', '_' and '.'"));
            }
            None => name_of(&url),
        };
        Ok(ReplicaEntry { name, url, password: self.password(table)?, storage: self.storage(table)? })
    }

    fn place_of_repository(&self, table: &DeTable<'_>) -> Result<Option<String>, EngineError> {
        Ok(self.string(table, "url")?.map(|url| match is_url(url) {
            true => url.to_owned(),
            false => expand(url, self.folder, self.env).display().to_string(),
        }))
    }

    fn storage(&self, table: &DeTable<'_>) -> Result<StorageEntry, EngineError> {
        let text = |key| Ok::<_, EngineError>(self.string(table, key)?.map(str::to_owned));
        let keys = ["access_key_env", "secret_key_env"];
        if let [Some(only), None] | [None, Some(only)] = keys.map(|key| table.get(key).map(|_| key)) {
            let other = if only == keys[0] { keys[1] } else { keys[0] };
            return Err(self.wrong(self.position(table, only), format!("`{only}` needs `{other}` beside it")));
        }
        Ok(StorageEntry {
            endpoint: text("endpoint")?,
            region: text("region")?,
            profile: text("profile")?,
            path_style: self.boolean(table, "path_style")?,
            access_key_env: text("access_key_env")?,
            secret_key_env: text("secret_key_env")?,
            session_token_env: text("session_token_env")?,
            limit_upload: self.limit(table, "limit_upload")?,
            limit_download: self.limit(table, "limit_download")?,
            append_only: self.boolean(table, "append_only")?.unwrap_or(false),
        })
    }

    /// Bytes per second; nothing at all would never end.
    fn limit(&self, table: &DeTable<'_>, key: &str) -> Result<Option<u64>, EngineError> {
        self.parsed(table, key, |text| match size(text.trim_end_matches("/s"))? {
            0 => Err("nothing would ever be transferred; remove the line for no limit".to_owned()),
            bytes => Ok(bytes),
        })
    }
}

/// Whether a name needs no quotes anywhere.
fn is_plain(name: &str) -> bool {
    name.len() <= 200 && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'))
}

/// A name made from the place: `s3://eu-central/backups` is `eu-central-backups`.
fn name_of(url: &str) -> String {
    let (_, place) = url.split_once("://").unwrap_or(("", url));
    let place = place.split(['?', '#']).next().unwrap_or_default();
    let parts = place.split(|c: char| !is_plain(c.encode_utf8(&mut [0; 4])));
    parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{parse, refused};
    use super::*;
    use crate::config::PasswordFrom;

    #[test]
    fn everything_about_storage_is_read() {
        let config = parse(
            "[repository]\nurl = \"s3://bucket/prefix\"\nendpoint = \"https://minio:9000\"\nregion = \"eu\"\n\
             profile = \"backup\"\npath_style = true\naccess_key_env = \"A\"\nsecret_key_env = \"B\"\n\
             session_token_env = \"C\"\nlimit_upload = \"10MiB\"\nlimit_download = \"1G/s\"\nappend_only = true\n",
        )
        .unwrap();
        let text = |text: &str| Some(text.to_owned());
        let storage = StorageEntry {
            endpoint: text("https://minio:9000"),
            region: text("eu"),
            profile: text("backup"),
            path_style: Some(true),
            access_key_env: text("A"),
            secret_key_env: text("B"),
            session_token_env: text("C"),
            limit_upload: Some(10 << 20),
            limit_download: Some(1 << 30),
            append_only: true,
        };
        assert_eq!(config.repository.storage, storage);
        assert_eq!(parse("").unwrap().repository.storage, StorageEntry::default());
    }

    #[test]
    fn replicas_have_names_and_passwords_of_their_own() {
        let config = parse(
            "[repository]\nurl = \"a\"\n[[replica]]\nurl = \"s3://eu-central/backups?region=x\"\npassword_env = \"P\"\n\
             [[replica]]\nname = \"disk\"\nurl = \"/mnt/b\"\n[[replica]]\nurl = \"s3:https://h:9000/bucket/x\"\n",
        )
        .unwrap();
        let names: Vec<_> = config.replicas.iter().map(|replica| replica.name.as_str()).collect();
        assert_eq!(names, ["eu-central-backups", "disk", "h-9000-bucket-x"]);
        assert_eq!(config.replicas[0].password, Some(PasswordFrom::Env("P".to_owned())));
        assert_eq!(config.replica("disk").unwrap().url, "/mnt/b");
        assert!(config.replica("no").is_none());
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let file = "/project/basekeep.toml";
        let at = |line: u32, problem: &str| format!("{file}:{line}: {problem}");
        let replica = "[[replica]]\nurl = \"s3://a/b\"\n";
        refused("[[replica]]\nname = \"x\"\n", &at(1, "[[replica]] has no url"), "s3://bucket");
        refused(&format!("{replica}{replica}"), &at(3, "there are two replicas at s3://a/b"), "");
        refused(
            &format!("{replica}[[replica]]\nurl = \"s3://a-b\"\n"),
            &at(3, "there are two replicas with the name 'a-b'"),
            "name =",
        );
        refused(
            &format!("[repository]\nurl = \"s3://a/b\"\n{replica}"),
            &at(3, "the replica s3://a/b is the repository itself"),
            "",
        );
        refused(&format!("{replica}name = \"a/b\"\n"), &at(3, "'a/b' cannot be a replica's name"), "letters");
        refused("[replica]\nurl = \"x\"\n", &at(1, "replicas are sections of the form [[replica]]"), "");
        refused(
            "[repository]\naccess_key_env = \"A\"\n",
            &at(2, "`access_key_env` needs `secret_key_env` beside it"),
            "",
        );
        refused(
            "[repository]\nlimit_upload = \"10MB\"\n",
            &at(2, "`limit_upload`: '10MB' is no size; write it as 512K, 10MiB or 2G (powers of 1,024)"),
            "",
        );
        refused("[repository]\npath_style = \"yes\"\n", &at(2, "`path_style` must be true or false"), "");
    }
}
