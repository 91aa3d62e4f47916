//! `storage` of a source: how its files are reached.

use toml::de::{DeTable, DeValue};

use super::Reader;
use crate::EngineError;
use crate::config::FilesEntry;
use crate::config::files::KEY;

const KEYS: [&str; 6] = ["url", "service_key_env", "s3", "region", "access_key_env", "secret_key_env"];
const EXAMPLE: &str = "write storage = { url = \"https://…/storage/v1\", service_key_env = \"SUPABASE_SERVICE_ROLE_KEY\" }, \
                       storage = { s3 = \"https://…/storage/v1/s3\", region = \"…\", access_key_env = \"…\", \
                       secret_key_env = \"…\" }, or storage = \"skip\"";

impl Reader<'_> {
    pub(super) fn files(&self, table: &DeTable<'_>) -> Result<Option<FilesEntry>, EngineError> {
        let Some(value) = table.get("storage") else { return Ok(None) };
        let at = value.span().start;
        let entry = match value.get_ref() {
            DeValue::String(text) if text == "skip" => return Ok(Some(FilesEntry::Skip)),
            DeValue::Table(entry) => entry,
            _ => return Err(self.wrong(at, "`storage` must be a section or \"skip\"").hint(EXAMPLE)),
        };
        self.check_keys(entry, "in `storage`", &KEYS)?;
        let text = |key: &str| Ok::<_, EngineError>(self.string(entry, key)?.map(str::to_owned));
        for key in ["url", "s3"] {
            if let Some(url) = self.string(entry, key)?
                && !url.starts_with("http://")
                && !url.starts_with("https://")
            {
                let at = self.position(entry, key);
                return Err(self.wrong(at, format!("`{key}` must begin with http:// or https://")));
            }
        }
        let (s3, key) = (text("s3")?, text("service_key_env")?);
        let others: Vec<&str> = match s3 {
            Some(_) => vec!["url", "service_key_env"],
            None => vec!["region", "access_key_env", "secret_key_env"],
        };
        if let Some(other) = others.iter().find(|key| entry.contains_key(**key)) {
            let problem = match s3 {
                Some(_) => format!("`s3` and `{other}` contradict each other"),
                None => format!("`{other}` goes with `s3`, which is not there"),
            };
            return Err(self.wrong(self.position(entry, other), problem).hint(EXAMPLE));
        }
        let Some(url) = s3 else {
            let service_key_env = key.unwrap_or_else(|| KEY.to_owned());
            return Ok(Some(FilesEntry::Api { url: text("url")?, service_key_env }));
        };
        match (text("access_key_env")?, text("secret_key_env")?) {
            (Some(access_key_env), Some(secret_key_env)) => {
                let region = text("region")?;
                Ok(Some(FilesEntry::S3 { url, region, access_key_env, secret_key_env }))
            }
            _ => Err(self.wrong(at, "`s3` needs access_key_env and secret_key_env").hint(EXAMPLE)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{parse, refused};
    use crate::config::{Config, FilesEntry};
    use crate::files::{Credentials, FilesAccess};

    fn config(storage: &str) -> Config {
        let url = "postgresql://postgres@db.abcdefghijklmnopqrst.supabase.co/postgres";
        parse(&format!("[source.a]\nurl = \"{url}\"\n{storage}\n")).unwrap()
    }

    fn access(storage: &str, vars: &[(&str, &str)]) -> FilesAccess {
        let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let env = basekeep_postgres::Environment {
            vars: vars.collect(),
            user: Some("ada".into()),
            ..basekeep_postgres::Environment::default()
        };
        config(storage).sources[0].source(&env).unwrap().files
    }

    #[test]
    fn each_way_to_the_files_can_be_written() {
        let entry = |storage: &str| config(storage).sources[0].storage.clone();
        assert_eq!(entry(""), None);
        assert_eq!(entry("storage = \"skip\""), Some(FilesEntry::Skip));
        let api = |url: Option<&str>, key: &str| {
            Some(FilesEntry::Api { url: url.map(str::to_owned), service_key_env: key.to_owned() })
        };
        assert_eq!(entry("storage = { service_key_env = \"K\" }"), api(None, "K"));
        assert_eq!(
            entry("storage = { url = \"http://h\" }"),
            api(Some("http://h"), "SUPABASE_SERVICE_ROLE_KEY")
        );
        let s3 = "storage = { s3 = \"https://h/s3\", access_key_env = \"A\", secret_key_env = \"S\" }";
        assert!(matches!(entry(s3), Some(FilesEntry::S3 { region: None, .. })));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let of = |storage: &str| format!("[source.a]\nurl = \"postgresql://h\"\nstorage = {storage}\n");
        let place = "/project/basekeep.toml:3:";
        refused(
            &of("\"no\""),
            &format!("{place} `storage` must be a section or \"skip\""),
            "service_key_env",
        );
        refused(
            &of("{ region = \"x\" }"),
            &format!("{place} `region` goes with `s3`, which is not there"),
            "s3 =",
        );
        refused(
            &of("{ s3 = \"http://h\", url = \"http://h\" }"),
            &format!("{place} `s3` and `url` contradict each other"),
            "",
        );
        refused(&of("{ url = \"h\" }"), &format!("{place} `url` must begin with http:// or https://"), "");
        refused(
            &of("{ s3 = \"http://h\" }"),
            &format!("{place} `s3` needs access_key_env and secret_key_env"),
            "",
        );
        refused(&of("{ key = \"x\" }"), &format!("{place} unknown key `key` in `storage`"), "");
    }

    #[test]
    fn keys_come_from_variables_and_what_is_missing_is_told() {
        let key = ("SUPABASE_SERVICE_ROLE_KEY", "secret");
        let FilesAccess::Service { address, .. } = access("", &[key]) else { panic!("no service") };
        assert_eq!(address.url, "https://abcdefghijklmnopqrst.supabase.co/storage/v1");
        assert!(matches!(address.credentials, Credentials::ServiceKey(_)));
        assert!(matches!(access("", &[]), FilesAccess::Unknown));
        assert!(matches!(access("storage = \"skip\"", &[key]), FilesAccess::Skip));
        let FilesAccess::Unavailable { reason } = access("storage = { service_key_env = \"K\" }", &[key])
        else {
            panic!("available")
        };
        assert_eq!(reason, "the variable K is not set");
    }
}
