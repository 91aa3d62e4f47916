//! Extensions, sequences and large objects.

use super::Described;
use super::items::{Field, Items, Named};

pub(super) fn compare(a: &Described<'_>, b: &Described<'_>) -> Vec<Items> {
    let of = |kind, kinds, list: fn(&Described<'_>) -> Named| {
        Items::of(kind, kinds, &list(a), &list(b), usize::MAX)
    };
    [
        of("extension", "extensions", extensions),
        of("sequence", "sequences", sequences),
        of("large objects", "large objects", large_objects),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn extensions(side: &Described<'_>) -> Named {
    let item = |e: &crate::stored::manifest::Extension| {
        (e.name.clone(), vec![Field::new("version", &e.version), Field::new("schema", &e.schema)])
    };
    side.extensions.iter().map(item).collect()
}

fn sequences(side: &Described<'_>) -> Named {
    let item = |s: &crate::stored::manifest::Sequence| {
        let fields = vec![Field::new("last_value", s.last_value), Field::new("is_called", s.is_called)];
        (format!("{}.{}", s.schema, s.name), fields)
    };
    side.sequences.iter().map(item).collect()
}

fn large_objects(side: &Described<'_>) -> Named {
    let all = side.large_objects;
    if all.count == 0 {
        return Named::new();
    }
    let mut fields = vec![Field::new("count", all.count), Field::new("bytes", all.bytes)];
    if !all.digest.is_empty() {
        fields.push(Field::new("digest", &all.digest));
    }
    [("all".to_owned(), fields)].into()
}
