//! What one source file may hold.

mod code;

use super::Finding;

const WARN_LINES: usize = 700;
const FAIL_LINES: usize = 1000;

/// A piece of code that must not stand where it stands.
struct Ban {
    code: &'static str,
    /// The crates it is banned from; all of them when empty.
    crates: &'static [&'static str],
    /// The crates that may have it all the same.
    except: &'static [&'static str],
    why: &'static str,
}

const STDOUT: &str = "only cli prints to stdout";
const PURE: &str = "archive does no input or output of its own";
const UNFINISHED: &str = "unfinished code";

const BANS: [Ban; 13] = [
    Ban { code: "println!", crates: &[], except: &["cli"], why: STDOUT },
    Ban { code: "print!", crates: &[], except: &["cli"], why: STDOUT },
    Ban { code: "stdout()", crates: &[], except: &["cli", "xtask"], why: STDOUT },
    Ban { code: "std::fs", crates: &["archive"], except: &[], why: PURE },
    Ban { code: "std::net", crates: &["archive"], except: &[], why: PURE },
    Ban { code: "std::process", crates: &["archive"], except: &[], why: PURE },
    Ban { code: "tokio::", crates: &["archive"], except: &[], why: PURE },
    Ban {
        code: "object_store::",
        crates: &[],
        except: &["store"],
        why: "only store opens the backup storage",
    },
    Ban { code: "todo!", crates: &[], except: &[], why: UNFINISHED },
    Ban { code: "unimplemented!", crates: &[], except: &[], why: UNFINISHED },
    Ban { code: "dbg!", crates: &[], except: &[], why: UNFINISHED },
    Ban {
        code: ".unwrap()",
        crates: &[],
        except: &["testkit"],
        why: "say with an error or an expect why it cannot fail",
    },
    Ban { code: "unsafe {", crates: &[], except: &[], why: "unsafe code is forbidden" },
];

/// Words in comments that mark what is left to do.
const MARKERS: [&str; 3] = ["TODO", "FIXME", "XXX"];

pub(super) fn check(package: &str, place: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines = text.lines().count();
    if lines > FAIL_LINES {
        findings.push(Finding::error(place, format!("{lines} lines: it is two things")));
    } else if lines > WARN_LINES {
        findings.push(Finding::warning(place, format!("{lines} lines: is it two things?")));
    }
    if !opens_with_header(text) && (!is_test(place) || place.ends_with("tests/main.rs")) {
        findings
            .push(Finding::error(place, "does not open with `//!`: what it is for, what it must not know"));
    }
    for (number, line) in text.lines().enumerate() {
        let marker =
            MARKERS.into_iter().find(|marker| comment(line).is_some_and(|text| has_word(text, marker)));
        if let Some(marker) = marker {
            findings.push(Finding::error(
                format!("{place}:{}", number + 1),
                format!("{marker}: file an issue instead"),
            ));
        }
    }
    if !is_test(place) {
        findings.extend(banned(package, place, &code::without_tests(&code::mask(text))));
    }
    findings
}

/// Attributes that apply to the whole file may stand above, as may a licence line for a script.
fn opens_with_header(text: &str) -> bool {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with("#!["));
    first.is_none_or(|line| line.starts_with("//!"))
}

fn is_test(place: &str) -> bool {
    let mut parts = place.split('/');
    parts.any(|part| matches!(part, "tests" | "benches" | "examples" | "fuzz" | "tests.rs"))
}

fn banned(package: &str, place: &str, code: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for ban in &BANS {
        let applies =
            (ban.crates.is_empty() || ban.crates.contains(&package)) && !ban.except.contains(&package);
        for (number, line) in code.lines().enumerate().filter(|_| applies) {
            if contains_code(line, ban.code) {
                findings.push(Finding::error(
                    format!("{place}:{}", number + 1),
                    format!("{}: {}", ban.code, ban.why),
                ));
            }
        }
    }
    findings
}

/// Whether the line has this code and not a longer name that ends with it (`print!` within `eprint!`).
fn contains_code(line: &str, code: &str) -> bool {
    line.match_indices(code).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        code.starts_with('.') || !before.is_some_and(|before| before.is_alphanumeric() || before == '_')
    })
}

fn comment(line: &str) -> Option<&str> {
    line.find("//").map(|at| &line[at..])
}

fn has_word(text: &str, word: &str) -> bool {
    text.split(|character: char| !character.is_alphanumeric() && character != '_').any(|part| part == word)
}

#[cfg(test)]
mod tests {
    use super::check;

    fn messages(package: &str, place: &str, text: &str) -> Vec<String> {
        check(package, place, text)
            .into_iter()
            .map(|finding| format!("{}: {}", finding.place, finding.message))
            .collect()
    }

    #[test]
    fn a_module_says_what_it_is_for() {
        assert!(messages("engine", "a.rs", "//! About a.\n").is_empty());
        assert!(messages("engine", "a.rs", "#![no_std]\n//! About a.\n").is_empty());
        assert_eq!(messages("engine", "a.rs", "// About a.\n").len(), 1);
        assert_eq!(messages("engine", "crates/engine/tests/main.rs", "mod a;\n").len(), 1);
        assert!(messages("engine", "crates/engine/tests/a.rs", "fn t() {}\n").is_empty());
    }

    #[test]
    fn banned_code_is_found_with_its_line() {
        let text = "//! A.\nfn f() { println!() }\n";
        let found = messages("engine", "crates/engine/src/a.rs", text);
        assert_eq!(found, ["crates/engine/src/a.rs:2: println!: only cli prints to stdout"]);
        assert!(messages("cli", "crates/cli/src/a.rs", text).is_empty());
        assert!(messages("engine", "a.rs", "//! A.\nfn f() { eprint!() }\n").is_empty());
    }

    #[test]
    fn tests_comments_and_strings_may_hold_it() {
        let text = "//! A: println!\n// .unwrap()\nfn f() { g(\"dbg!(x)\") }\n\n#[cfg(test)]\nmod tests {\n    fn t() { x.unwrap() }\n}\n";
        assert!(messages("engine", "a.rs", text).is_empty());
        assert!(messages("engine", "crates/engine/tests/a.rs", "//! A.\nfn f() { x.unwrap() }\n").is_empty());
    }

    #[test]
    fn marks_of_things_left_to_do_are_found_in_comments() {
        let marker = ["TO", "DO"].concat();
        assert_eq!(messages("engine", "a.rs", &format!("//! A.\nf(); // {marker}: more\n")).len(), 1);
        assert!(messages("engine", "a.rs", &format!("//! A.\nlet x = \"{marker}\";\n")).is_empty());
    }

    #[test]
    fn long_files_are_pointed_out() {
        let text = |lines: usize| format!("//! A.\n{}", "\n".repeat(lines));
        assert!(messages("engine", "a.rs", &text(500)).is_empty());
        assert!(check("engine", "a.rs", &text(800)).iter().all(|finding| !finding.fatal));
        assert!(check("engine", "a.rs", &text(1200)).iter().any(|finding| finding.fatal));
    }
}
