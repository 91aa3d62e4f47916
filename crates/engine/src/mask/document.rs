//! Masks inside of JSON: values at a path. Everything else stays as it is written, numbers too.

use std::borrow::Cow;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::key::Key;
use super::method::{Kind, Masked, Method};
use crate::values::json::string;

/// Deeper documents are left out, since they cannot be looked through.
const DEEPEST: usize = 200;

/// Where a value is: `$.email`, `$.addresses[*].street`, `$.*.name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// A member by name.
    Member(String),
    /// Every member.
    Members,
    /// Every element.
    Elements,
}

impl Path {
    /// Reads one. `None` where it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut rest = text.strip_prefix('$')?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix("[*]") {
                steps.push(Step::Elements);
                rest = after;
                continue;
            }
            let name = rest.strip_prefix('.')?;
            if let Some(quoted) = name.strip_prefix('"') {
                let end = quoted.find('"')?;
                steps.push(Step::Member(quoted[..end].to_owned()));
                rest = &quoted[end + 1..];
                continue;
            }
            let end = name.find(['.', '[']).unwrap_or(name.len());
            match &name[..end] {
                "" => return None,
                "*" => steps.push(Step::Members),
                member => steps.push(Step::Member(member.to_owned())),
            }
            rest = &name[end..];
        }
        Some(Self(steps))
    }
}

/// A document to be masked.
pub(super) struct Document<'a> {
    pub(super) key: &'a Key,
    pub(super) paths: &'a [(Path, Method)],
}

/// What is left of a path, and what happens at its end.
type Open<'a> = (&'a [Step], &'a Method);

impl Document<'_> {
    /// Masks the values at all paths; the first one that fits a value counts. What cannot be
    /// looked through becomes JSON's null.
    pub(super) fn apply(&self, text: &[u8], out: &mut Vec<u8>) -> Masked {
        let open: Vec<Open<'_>> =
            self.paths.iter().map(|(path, method)| (path.0.as_slice(), method)).collect();
        let start = out.len();
        match std::str::from_utf8(text).ok().and_then(|text| self.value(text, &open, 0, out)) {
            Some(()) => Masked::Written,
            None => {
                out.truncate(start);
                out.extend_from_slice(b"null");
                Masked::Written
            }
        }
    }

    fn value(&self, text: &str, open: &[Open<'_>], depth: usize, out: &mut Vec<u8>) -> Option<()> {
        if let Some((_, method)) = open.iter().find(|(steps, _)| steps.is_empty()) {
            return self.end(text.trim(), method, out);
        }
        if depth > DEEPEST {
            return None;
        }
        match text.trim_start().as_bytes().first()? {
            b'{' if !open.is_empty() => {
                let members: Members<'_> = serde_json::from_str(text).ok()?;
                out.push(b'{');
                for (number, (name, value)) in members.0.iter().enumerate() {
                    if number > 0 {
                        out.push(b',');
                    }
                    string(name.as_bytes(), out);
                    out.push(b':');
                    let inner = further(open, |step| match step {
                        Step::Member(member) => member == name,
                        Step::Members => true,
                        Step::Elements => false,
                    });
                    self.value(value.get(), &inner, depth + 1, out)?;
                }
                out.push(b'}');
            }
            b'[' if !open.is_empty() => {
                let elements: Elements<'_> = serde_json::from_str(text).ok()?;
                let inner = further(open, |step| *step == Step::Elements);
                out.push(b'[');
                for (number, value) in elements.0.iter().enumerate() {
                    if number > 0 {
                        out.push(b',');
                    }
                    self.value(value.get(), &inner, depth + 1, out)?;
                }
                out.push(b']');
            }
            _ => out.extend_from_slice(text.as_bytes()),
        }
        Some(())
    }

    /// At a path's end: texts are masked as texts, whole numbers stay such, everything else that a method knows nothing
    /// about becomes null.
    fn end(&self, text: &str, method: &Method, out: &mut Vec<u8>) -> Option<()> {
        if text == "null" || *method == Method::Keep {
            out.extend_from_slice(text.as_bytes());
            return Some(());
        }
        if let Method::Constant(constant) = method {
            string(constant.as_bytes(), out);
            return Some(());
        }
        let mut masked = Vec::new();
        if text.starts_with('"') {
            let value: Cow<'_, str> = serde_json::from_str::<Text<'_>>(text).ok()?.0;
            match method.apply(self.key, Kind::TEXT, false, value.as_bytes(), &mut masked) {
                Masked::Kept => out.extend_from_slice(text.as_bytes()),
                Masked::Null => out.extend_from_slice(b"null"),
                Masked::Written => string(&masked, out),
            }
            return Some(());
        }
        match (method, text.parse::<i64>()) {
            (Method::Hash, Ok(_)) => {
                method.apply(self.key, Kind::Integer, false, text.as_bytes(), &mut masked);
                out.extend_from_slice(&masked);
            }
            _ => out.extend_from_slice(b"null"),
        }
        Some(())
    }
}

fn further<'a>(open: &[Open<'a>], fits: impl Fn(&Step) -> bool) -> Vec<Open<'a>> {
    open.iter()
        .filter_map(|(steps, method)| {
            steps.split_first().filter(|(step, _)| fits(step)).map(|(_, rest)| (rest, *method))
        })
        .collect()
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Members in their order, double ones too.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

struct Elements<'a>(Vec<&'a RawValue>);

impl<'de> Deserialize<'de> for Elements<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Elements<'de>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an array")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = seq.next_element()? {
                    elements.push(element);
                }
                Ok(Elements(elements))
            }
        }
        deserializer.deserialize_seq(Collect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use basekeep_postgres::Secret;

    fn masked(paths: &[(&str, Method)], text: &str) -> Option<String> {
        let paths: Vec<_> =
            paths.iter().map(|(path, method)| (Path::parse(path).unwrap(), method.clone())).collect();
        let key = Key::new(&Secret::new("test"));
        let mut out = Vec::new();
        match (Document { key: &key, paths: &paths }).apply(text.as_bytes(), &mut out) {
            Masked::Written => Some(String::from_utf8(out).unwrap()),
            _ => None,
        }
    }

    #[test]
    fn only_what_a_path_names_changes() {
        let star = || Method::Constant("*".into());
        let text =
            r#"{"email": "jo@x", "n": 1e400, "to": [{"email": null, "phone": 17}, 5], "a.b": {"x": "y"}}"#;
        assert_eq!(
            masked(&[("$.email", star()), ("$.to[*].phone", Method::Null), ("$.\"a.b\".*", star())], text)
                .unwrap(),
            r#"{"email":"*","n":1e400,"to":[{"email":null,"phone":null},5],"a.b":{"x":"*"}}"#
        );
        assert_eq!(masked(&[("$", star())], "\"x\"").unwrap(), "\"*\"");
        assert_eq!(masked(&[("$.email", star())], "[1]").unwrap(), "[1]");
        assert_eq!(masked(&[("$.email", star())], "{\"email\"").unwrap(), "null");
    }

    #[test]
    fn a_value_in_a_document_gets_the_mask_of_the_same_value_in_a_column() {
        let found =
            masked(&[("$.email", Method::Email), ("$.id", Method::Hash)], r#"{"email":"jo@x","id":12}"#)
                .unwrap();
        let mut email = Vec::new();
        Method::Email.apply(&Key::new(&Secret::new("test")), Kind::TEXT, false, b"jo@x", &mut email);
        assert!(found.contains(&String::from_utf8(email).unwrap()), "{found}");
        let id = Key::new(&Secret::new("test")).number(12);
        assert!(found.ends_with(&format!("\"id\":{id}}}")), "{found}");
    }

    #[test]
    fn paths_are_read() {
        assert!(Path::parse("$.a[*].\"b c\".*").is_some());
        for wrong in ["a", "$a", "$.", "$..a", "$[0]", "$.\"a"] {
            assert_eq!(Path::parse(wrong), None, "{wrong}");
        }
    }
}
