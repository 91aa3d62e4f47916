//! Two sides that have been read: everything that needs no further reading.

use super::{Chosen, Described, Diff, Options, facts, globals, objects};
use crate::stored::manifest::Missing;

pub(super) fn compare(a: &Described<'_>, b: &Described<'_>, chosen: &Chosen, options: &Options) -> Diff {
    let mut diff = Diff {
        a: a.side.clone(),
        b: b.side.clone(),
        objects: Vec::new(),
        items: Vec::new(),
        tables: Vec::new(),
        equal_tables: 0,
        not_compared: Vec::new(),
        notes: Vec::new(),
    };
    for (side, word) in [(a, "first"), (b, "second")] {
        diff.not_compared.extend(side.missing.iter().map(|missing| Missing {
            what: format!("{} (not in the {word} one)", missing.what),
            ..missing.clone()
        }));
    }
    if options.definitions {
        diff.objects = objects::differences(a.archive, b.archive, chosen, options.secrets.show);
        match (a.globals, b.globals) {
            (Ok(left), Ok(right)) => diff.items.extend(globals::compare(left, right, &options.secrets)),
            (left, right) => {
                let reasons = [left, right].into_iter().filter_map(Result::err);
                diff.not_compared.push(Missing {
                    what: "roles and settings".into(),
                    reason: reasons.collect::<Vec<_>>().join("; "),
                    hint: None,
                });
            }
        }
        diff.items.extend(facts::compare(a, b));
        diff.items.retain(|items| chosen.wants_items(items.kind));
    }
    diff
}
