//! `management = { … }` of a source.

use basekeep_supabase::management::{DEFAULT_TOKEN_ENV, DEFAULT_URL};
use toml::de::DeTable;

use super::Reader;
use crate::EngineError;
use crate::config::ManagementEntry;

const KEYS: [&str; 3] = ["project_ref", "token_env", "url"];

impl Reader<'_> {
    pub(super) fn management(
        &self,
        table: &DeTable<'_>,
        section: &str,
    ) -> Result<Option<ManagementEntry>, EngineError> {
        let Some(value) = table.get("management") else { return Ok(None) };
        let inner = self.table(value, "management")?;
        self.check_keys(inner, &format!("in `management` of [{section}]"), &KEYS)?;
        let project_ref = self.string(inner, "project_ref")?.ok_or_else(|| {
            self.wrong(value.span().start, format!("`management` of [{section}] has no project_ref"))
                .hint("the dashboard's address shows it: supabase.com/dashboard/project/<project_ref>")
        })?;
        let or = |key: &str, default: &str| {
            Ok::<_, EngineError>(self.string(inner, key)?.unwrap_or(default).to_owned())
        };
        Ok(Some(ManagementEntry {
            project_ref: project_ref.to_owned(),
            token_env: or("token_env", DEFAULT_TOKEN_ENV)?,
            url: or("url", DEFAULT_URL)?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use crate::config::read::tests::{parse, refused};

    #[test]
    fn the_api_of_a_project_is_read_and_has_defaults() {
        let config = parse(
            "[source.a]\nurl = \"postgresql://h\"\nmanagement = { project_ref = \"abcd\" }\n\
             [source.b]\nurl = \"postgresql://h\"\n[source.b.management]\nproject_ref = \"x\"\ntoken_env = \"T\"\nurl = \"http://localhost:1\"\n",
        )
        .unwrap();
        let first = config.sources[0].management.as_ref().unwrap();
        assert_eq!(
            (first.url.as_str(), first.token_env.as_str()),
            ("https://api.supabase.com", "SUPABASE_ACCESS_TOKEN")
        );
        let second = config.sources[1].management.as_ref().unwrap();
        assert_eq!((second.project_ref.as_str(), second.url.as_str()), ("x", "http://localhost:1"));
        refused(
            "[source.a]\nurl = \"postgresql://h\"\nmanagement = { token_env = \"T\" }\n",
            "/project/basekeep.toml:3: `management` of [source.a] has no project_ref",
            "dashboard",
        );
        refused(
            "[source.a]\nurl = \"postgresql://h\"\nmanagement = { project_ref = \"a\", token = \"sbp\" }\n",
            "/project/basekeep.toml:3: unknown key `token` in `management` of [source.a]",
            "token_env",
        );
    }
}
