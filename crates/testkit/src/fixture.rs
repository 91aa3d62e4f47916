//! Fixtures: SQL for a plain superuser session, with sections for what only some servers can do.
//!
//! A section runs from a line `-- min: 16` (major version), `-- below: 16`, `-- needs-extension: hstore` or
//! `-- needs: xml` (also `icu`, `lz4`) to the line `-- end`. Sections nest. Fixtures hold no psql commands and no COPY data.

use basekeep_postgres::Client;
use std::collections::BTreeSet;

/// Every object kind that pg_dump knows and a plain server offers, with rows and awkward values and names.
pub const ODD_CATALOG: &str = include_str!("../fixtures/odd-catalog.sql");
/// Values of up to 100 MB, apart because they are slow.
pub const ODD_CATALOG_LARGE_VALUES: &str = include_str!("../fixtures/odd-catalog-large-values.sql");
/// A project shaped like a Supabase project; needs no extension.
pub const SAMPLE_PROJECT: &str = include_str!("../fixtures/sample-project.sql");

/// Numbers of rows in [`SAMPLE_PROJECT`], each wherever it stands, since rows refer to each other by them.
const SIZES: [u32; 12] = [6000, 9000, 18000, 20000, 3000, 2999, 80000, 12000, 11999, 15000, 8000, 50000];
/// How many times smaller the small one is.
const SMALLER: u32 = 20;

/// [`SAMPLE_PROJECT`] with the same definitions and a twentieth of the rows of its large tables, for tests that are about
/// kinds of things rather than amounts.
pub fn small_sample_project() -> String {
    let mut text = String::new();
    let mut number = String::new();
    for c in SAMPLE_PROJECT.chars().chain([' ']) {
        if c.is_ascii_digit() {
            number.push(c);
            continue;
        }
        match number.parse().ok().filter(|n| SIZES.contains(n)) {
            Some(n) => text += &(n / SMALLER).to_string(),
            None => text += &number,
        }
        number.clear();
        text.push(c);
    }
    // As far apart as before all of them would be in one partition.
    text.replace("generate_series(1, 110000)", "generate_series(1, 5500)")
        .replace("sample.moment(n, '6 minutes')", "sample.moment(n, '2 hours')")
        .replace("generate_series(1, 2000)", "generate_series(1, 100)")
}

/// What a server offers, as far as fixtures care.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Major version.
    pub major: u32,
    /// Extensions that can be created.
    pub extensions: BTreeSet<String>,
    /// Compile-time features: `xml`, `icu`, `lz4`.
    pub built_in: BTreeSet<String>,
}

impl Features {
    /// Asks the server.
    pub async fn of(client: &mut Client) -> Self {
        let extensions = column(client, "SELECT name FROM pg_available_extensions").await;
        let built_in = column(
            client,
            "SELECT 'icu' WHERE EXISTS (SELECT FROM pg_collation WHERE collname = 'und-x-icu')
             UNION ALL SELECT 'lz4' FROM pg_settings
                 WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals)",
        )
        .await;
        let mut features = Self { major: client.server_version() / 10_000, extensions, built_in };
        if client.query("SELECT '<a/>'::xml").await.is_ok() {
            features.built_in.insert("xml".to_owned());
        }
        features
    }

    fn allow(&self, condition: Condition<'_>) -> bool {
        match condition {
            Condition::Min(major) => self.major >= major,
            Condition::Below(major) => self.major < major,
            Condition::Extension(name) => self.extensions.contains(name),
            Condition::BuiltIn(name) => self.built_in.contains(name),
        }
    }
}

/// The first column of a query's result, without NULLs.
pub(crate) async fn column(client: &mut Client, sql: &str) -> BTreeSet<String> {
    let rows = client.query(sql).await.expect("a catalog query works");
    rows.iter().filter_map(|row| row.get(0).map(str::to_owned)).collect()
}

#[derive(Clone, Copy)]
enum Condition<'a> {
    Min(u32),
    Below(u32),
    Extension(&'a str),
    BuiltIn(&'a str),
}

impl<'a> Condition<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (key, value) = line.strip_prefix("-- ")?.split_once(": ")?;
        Some(match key {
            "min" => Self::Min(value.parse().expect("a major version")),
            "below" => Self::Below(value.parse().expect("a major version")),
            "needs-extension" => Self::Extension(value),
            "needs" => Self::BuiltIn(value),
            _ => return None,
        })
    }
}

/// The fixture without the sections that this server cannot run. Lines keep their numbers.
///
/// # Panics
/// When sections are not closed as they were opened.
pub fn for_server(fixture: &str, features: &Features) -> String {
    let mut open: Vec<bool> = Vec::new();
    let mut text = String::with_capacity(fixture.len());
    for line in fixture.lines() {
        if let Some(condition) = Condition::parse(line) {
            open.push(features.allow(condition));
        } else if line == "-- end" {
            open.pop().expect("`-- end` closes a section");
        } else if open.iter().all(|allowed| *allowed) {
            text.push_str(line);
        }
        text.push('\n');
    }
    assert!(open.is_empty(), "a section of the fixture is not closed");
    text
}

#[cfg(test)]
mod tests {
    use super::{Features, for_server};

    const FIXTURE: &str = "a\n-- min: 16\nb\n-- needs: xml\nc\n-- end\n-- end\n-- below: 16\nd\n-- end\n\
                           -- needs-extension: hstore\ne\n-- end\n";

    fn lines(features: &Features) -> Vec<String> {
        let text = for_server(FIXTURE, features);
        assert_eq!(text.lines().count(), FIXTURE.lines().count());
        text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
    }

    #[test]
    fn sections_follow_version_features_and_extensions() {
        let xml = ["xml".to_owned()].into();
        let hstore = ["hstore".to_owned()].into();
        assert_eq!(lines(&Features { major: 15, ..Features::default() }), ["a", "d"]);
        assert_eq!(lines(&Features { major: 15, built_in: xml, ..Features::default() }), ["a", "d"]);
        assert_eq!(
            lines(&Features { major: 16, extensions: hstore, ..Features::default() }),
            ["a", "b", "e"]
        );
        let xml = ["xml".to_owned()].into();
        assert_eq!(lines(&Features { major: 18, built_in: xml, ..Features::default() }), ["a", "b", "c"]);
    }
}
