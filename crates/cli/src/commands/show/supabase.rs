//! The Supabase project in a manifest, for people and for programs.

use std::collections::BTreeMap;

use basekeep_engine::stored::manifest::{SchemaVersion, Supabase};
use serde::Serialize;

use crate::output::table::{Align, Table, clean};

#[derive(Serialize)]
pub(super) struct SupabaseDocument<'a> {
    flavour: &'a str,
    reference: Option<&'a str>,
    role: &'a str,
    auth_schema: Option<SchemaDocument<'a>>,
    storage_schema: Option<SchemaDocument<'a>>,
    counts: &'a BTreeMap<String, u64>,
    users_by_hash: &'a BTreeMap<String, u64>,
    identities_by_provider: &'a BTreeMap<String, u64>,
    encryption: &'a [String],
    supply_again: &'a [String],
}

#[derive(Serialize)]
struct SchemaDocument<'a> {
    last: Option<&'a str>,
    migrations: Option<u64>,
    at_least: Option<&'a str>,
    fingerprint: &'a str,
}

impl<'a> SupabaseDocument<'a> {
    pub(super) fn of(s: &'a Supabase) -> Self {
        let schema = |version: &'a SchemaVersion| SchemaDocument {
            last: version.last.as_deref(),
            migrations: version.migrations,
            at_least: version.at_least.as_deref(),
            fingerprint: &version.fingerprint,
        };
        Self {
            flavour: &s.flavour,
            reference: s.reference.as_deref(),
            role: &s.role,
            auth_schema: s.auth_schema.as_ref().map(schema),
            storage_schema: s.storage_schema.as_ref().map(schema),
            counts: &s.counts,
            users_by_hash: &s.users_by_hash,
            identities_by_provider: &s.identities_by_provider,
            encryption: &s.encryption,
            supply_again: &s.supply_again,
        }
    }
}

pub(super) fn text(s: &Supabase) -> String {
    let mut table = Table::new(&[("supabase", Align::Left), ("", Align::Left)]);
    for (name, value) in s.lines() {
        table.row([name, value]);
    }
    let mut text = table.render();
    for (title, lines) in [("calls pgcrypto", &s.encryption), ("supply again", &s.supply_again)] {
        for line in lines {
            text += &format!("{title}: {}\n", clean(line));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_is_shown_with_its_counts_in_the_order_that_people_look_for() {
        let supabase = Supabase {
            flavour: "hosted".into(),
            reference: Some("abcd".into()),
            role: "postgres".into(),
            auth_schema: Some(SchemaVersion {
                at_least: Some("20240427152123".into()),
                ..SchemaVersion::default()
            }),
            counts: [("buckets", 1), ("users", 12), ("a_new_one", 7)].map(|(n, c)| (n.to_owned(), c)).into(),
            users_by_hash: [("bcrypt", 10), ("none", 2)].map(|(n, c)| (n.to_owned(), c)).into(),
            supply_again: vec!["secret STRIPE_KEY of the edge functions".into()],
            ..Supabase::default()
        };
        let text = text(&supabase);
        let lines: Vec<String> =
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            lines,
            [
                "supabase",
                "project hosted abcd, read as postgres",
                "auth schema at least 20240427152123",
                "users 12 (bcrypt 10, none 2)",
                "buckets 1",
                "a new one 7",
                "supply again: secret STRIPE_KEY of the edge functions",
            ]
        );
        let value = serde_json::to_value(SupabaseDocument::of(&supabase)).unwrap();
        assert_eq!(value["counts"]["users"], 12);
        assert_eq!(value["auth_schema"]["at_least"], "20240427152123");
    }
}
