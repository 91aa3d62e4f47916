//! Things with a name and properties (a role, a setting, a file): which are new, gone, or otherwise.

use std::collections::BTreeMap;

use super::Change;

/// The differences among things of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Items {
    /// The kind, for example `role` or `storage file`.
    pub kind: &'static str,
    /// The same for many.
    pub kinds: &'static str,
    /// How many only the second side has.
    pub added: u64,
    /// How many only the first side has.
    pub removed: u64,
    /// How many both have, otherwise.
    pub changed: u64,
    /// They, or the first ones where there are too many.
    pub shown: Vec<ItemDifference>,
}

/// One thing that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemDifference {
    /// Its name.
    pub name: String,
    /// How.
    pub change: Change,
    /// The properties that differ; of what is new or gone, all.
    pub fields: Vec<FieldChange>,
}

/// A property that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldChange {
    /// Its name.
    pub name: String,
    /// What it was; `None` where there was none.
    pub old: Option<Value>,
    /// What it is.
    pub new: Option<Value>,
}

/// A value that is told, or hidden since it is a secret.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// SQL's NULL.
    Null,
    /// Its text.
    Shown(String),
    /// A text that is too long to be told as a whole.
    Long {
        /// Its beginning.
        start: String,
        /// Bytes of all of it.
        bytes: u64,
    },
    /// A secret.
    Hidden,
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Values of rows are in no log.
        f.write_str(match self {
            Self::Null => "Null",
            Self::Shown(_) | Self::Long { .. } => "Shown(…)",
            Self::Hidden => "Hidden",
        })
    }
}

impl Value {
    /// A text, of which at most `longest` bytes are kept.
    pub(super) fn cut(text: &[u8], longest: usize) -> Self {
        if text.len() <= longest {
            return Self::Shown(String::from_utf8_lossy(text).into_owned());
        }
        let mut end = longest;
        // Not inside of a character.
        while end > 0 && text.get(end).is_some_and(|byte| byte & 0xc0 == 0x80) {
            end -= 1;
        }
        let start = String::from_utf8_lossy(&text[..end]).into_owned();
        Self::Long { start, bytes: text.len() as u64 }
    }
}

/// A property of an item while it is compared.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) secret: bool,
}

impl Field {
    pub(super) fn new(name: impl Into<String>, value: impl ToString) -> Self {
        Self { name: name.into(), value: value.to_string(), secret: false }
    }

    pub(super) fn secret(name: impl Into<String>, value: impl ToString) -> Self {
        Self { secret: true, ..Self::new(name, value) }
    }

    /// Nothing where there is no value.
    pub(super) fn some(name: &str, value: Option<impl ToString>) -> Option<Self> {
        value.map(|value| Self::new(name, value))
    }

    fn told(&self) -> Value {
        if self.secret { Value::Hidden } else { Value::Shown(self.value.clone()) }
    }
}

/// A thing and its properties. Where a name occurs twice, the last one counts.
pub(super) type Named = BTreeMap<String, Vec<Field>>;

impl Items {
    pub(super) fn new(kind: &'static str, kinds: &'static str) -> Self {
        Self { kind, kinds, added: 0, removed: 0, changed: 0, shown: Vec::new() }
    }

    /// How many differ.
    pub fn count(&self) -> u64 {
        self.added + self.removed + self.changed
    }

    /// Compares one thing, and takes note of it if it differs; at most `limit` are kept.
    pub(super) fn add(&mut self, name: &str, a: Option<&[Field]>, b: Option<&[Field]>, limit: usize) {
        let (change, counter) = match (a, b) {
            (None, Some(_)) => (Change::Added, &mut self.added),
            (Some(_), None) => (Change::Removed, &mut self.removed),
            (Some(a), Some(b)) if a != b => (Change::Changed, &mut self.changed),
            _ => return,
        };
        *counter += 1;
        if self.shown.len() < limit {
            let fields = fields(a.unwrap_or_default(), b.unwrap_or_default());
            self.shown.push(ItemDifference { name: name.to_owned(), change, fields });
        }
    }

    pub(super) fn of(
        kind: &'static str,
        kinds: &'static str,
        a: &Named,
        b: &Named,
        limit: usize,
    ) -> Option<Self> {
        let mut items = Self::new(kind, kinds);
        let only_b = b.keys().filter(|name| !a.contains_key(*name));
        let mut names: Vec<&String> = a.keys().chain(only_b).collect();
        names.sort();
        for name in names {
            items.add(name, a.get(name).map(Vec::as_slice), b.get(name).map(Vec::as_slice), limit);
        }
        items.if_any()
    }

    pub(super) fn if_any(self) -> Option<Self> {
        (self.count() > 0).then_some(self)
    }
}

fn fields(a: &[Field], b: &[Field]) -> Vec<FieldChange> {
    let find = |all: &[Field], name: &str| all.iter().find(|field| field.name == name).map(Field::told);
    let equal = |field: &Field| a.contains(field) && b.contains(field);
    let mut changes: Vec<FieldChange> = Vec::new();
    for field in a.iter().chain(b).filter(|field| !equal(field)) {
        if changes.iter().all(|change| change.name != field.name) {
            let name = field.name.clone();
            changes.push(FieldChange { old: find(a, &name), new: find(b, &name), name });
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_properties_that_differ_are_told_and_secrets_never() {
        let a = Named::from([
            ("app".to_owned(), vec![Field::new("login", true), Field::secret("password", "md5old")]),
            ("gone".to_owned(), vec![Field::new("login", false)]),
        ]);
        let b = Named::from([
            ("app".to_owned(), vec![Field::new("login", true), Field::secret("password", "md5new")]),
            ("new".to_owned(), vec![]),
        ]);
        let items = Items::of("role", "roles", &a, &b, 2).unwrap();
        assert_eq!((items.added, items.removed, items.changed), (1, 1, 1));
        assert_eq!(items.shown.len(), 2, "the rest is counted");
        let app = &items.shown[0];
        assert_eq!((app.name.as_str(), app.change), ("app", Change::Changed));
        let password =
            FieldChange { name: "password".into(), old: Some(Value::Hidden), new: Some(Value::Hidden) };
        assert_eq!(app.fields, [password]);
        assert!(!format!("{app:?}").contains("md5"));
        assert_eq!(Items::of("role", "roles", &a, &a, 2), None);
    }
}
