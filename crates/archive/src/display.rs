//! Names for people.

use crate::model::Entry;
use crate::owner::dropped_object;

impl Entry {
    /// A name that a person understands: `table public.orders`, `policy own_files on storage.objects`,
    /// `comment on column public.orders.id`.
    pub fn display(&self) -> String {
        let tag = self.tag.as_ref().map(ToString::to_string).unwrap_or_default();
        let kind = self.desc.to_string();
        match kind.as_str() {
            "COMMENT" | "SECURITY LABEL" | "ACL" => {
                let what = if kind == "ACL" { "privileges".to_owned() } else { kind.to_lowercase() };
                format!("{what} on {}", self.attribute_target(&tag))
            }
            "DEFAULT ACL" => {
                let owner = self.owner.as_ref().map(ToString::to_string).unwrap_or_default();
                let within = self.schema().map(|s| format!(" in {s}")).unwrap_or_default();
                format!("{}{within} by {owner}", tag.to_lowercase())
            }
            "CONSTRAINT" | "FK CONSTRAINT" | "CHECK CONSTRAINT" => {
                let named = || {
                    let drop = self.drop_stmt.as_ref()?.to_string();
                    let (table, name) = drop.trim_end_matches([';', '\n']).split_once(" DROP CONSTRAINT ")?;
                    let table = table.strip_prefix("ALTER ")?.split_once(' ')?.1;
                    Some((name.to_owned(), table.trim_start_matches("ONLY ").to_owned()))
                };
                match named() {
                    Some((name, table)) => format!("{} {name} on {table}", kind.to_lowercase()),
                    None => self.plain_name(&kind, &tag),
                }
            }
            "TRIGGER" | "RULE" | "POLICY" => {
                let drop = self.drop_stmt.as_ref().map(ToString::to_string).unwrap_or_default();
                let object = dropped_object(drop.as_bytes()).map(|d| String::from_utf8_lossy(d).into_owned());
                match object
                    .as_deref()
                    .and_then(|o| o.split_once(' '))
                    .and_then(|(_, o)| o.split_once(" ON "))
                {
                    Some((name, table)) => format!("{} {name} on {table}", kind.to_lowercase()),
                    None => self.plain_name(&kind, &tag),
                }
            }
            "ROW SECURITY" => format!("row security on {}", self.qualified(&tag)),
            "DEFAULT" => {
                let column = tag.replacen(' ', ".", 1);
                format!("default of {}", self.qualified(&column))
            }
            "TABLE DATA" => format!("rows of {}", self.qualified(&tag)),
            "SEQUENCE SET" => format!("position of {}", self.qualified(&tag)),
            "MATERIALIZED VIEW DATA" => format!("refresh of {}", self.qualified(&tag)),
            "BLOB" => format!("large object {tag}"),
            "BLOB METADATA" => format!("large objects {tag}"),
            "BLOBS" => "contents of large objects".to_owned(),
            "CAST" | "USER MAPPING" | "TRANSFORM" => tag,
            _ => self.plain_name(&kind, &tag),
        }
    }

    fn plain_name(&self, kind: &str, tag: &str) -> String {
        format!("{} {}", kind.to_lowercase(), self.qualified(tag))
    }

    fn qualified(&self, name: &str) -> String {
        match self.schema() {
            Some(schema) => format!("{schema}.{name}"),
            None => name.to_owned(),
        }
    }

    fn schema(&self) -> Option<String> {
        self.namespace.as_ref().filter(|n| !n.is_empty()).map(ToString::to_string)
    }

    /// `TABLE orders` with schema `public` is `table public.orders`; after `ON` it is the table that has the schema.
    fn attribute_target(&self, tag: &str) -> String {
        let is_kind_word = |w: &str| !w.is_empty() && w.bytes().all(|b| b.is_ascii_uppercase());
        let mut rest = tag;
        let mut kind = Vec::new();
        while let Some((word, after)) = rest.split_once(' ').filter(|(word, _)| is_kind_word(word)) {
            kind.push(word.to_lowercase());
            rest = after;
        }
        if kind.is_empty() {
            return self.qualified(tag);
        }
        let kind = kind.join(" ");
        match rest.split_once(" ON ") {
            Some((name, table)) => format!("{kind} {name} on {}", self.qualified(table)),
            None if kind == "schema" || kind == "extension" => format!("{kind} {rest}"),
            None => format!("{kind} {}", self.qualified(rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::model::Archive;

    #[test]
    fn names_say_what_and_where() {
        let archive = Archive::parse(include_bytes!("../tests/fixtures/small-18.toc.dat")).unwrap();
        let names: Vec<_> = archive.entries.iter().map(crate::Entry::display).collect();
        for name in [
            "schema shop",
            "table shop.users",
            "policy own on shop.users",
            "row security on shop.users",
            "trigger messages_touch on shop.messages",
            "constraint users_pkey on shop.users",
            "fk constraint users_best on shop.users",
            "comment on constraint users_best on shop.users",
            "default of shop.messages.id",
            "privileges on column shop.users.id",
            "default privileges for tables in shop by archive_owner",
            "comment on event trigger watch",
            "comment on large object 70001",
            "rows of shop.users",
            "position of shop.messages_id_seq",
            "refresh of shop.aa_totals",
            "large objects 70003..70004",
            "function shop.touch()",
            "privileges on function pg_catalog.pg_sleep_for(interval)",
        ] {
            assert!(names.iter().any(|n| n == name), "{name} is not among {names:#?}");
        }
    }
}
