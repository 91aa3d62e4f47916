//! The file of rules: which columns are masked, how, and where the secret comes from.

use std::collections::BTreeMap;
use std::path::{Path as FilePath, PathBuf};

use basekeep_postgres::{Environment, Secret};
use serde::Deserialize;

use super::document::Path;
use super::method::Method;
use crate::EngineError;
use crate::config::{Dotenv, PasswordFrom, nearest};
use crate::selection::pattern::{Pattern, first_dot};

/// Where the secret is looked for when the file does not say: this variable, or with `_FILE` or `_COMMAND` behind it.
pub const SECRET_VARIABLE: &str = "BASEKEEP_MASK_SECRET";
/// What is shorter can be guessed.
const SHORTEST_SECRET: usize = 12;
const METHODS: [&str; 11] = [
    "keep",
    "null",
    "constant",
    "hash",
    "name",
    "first-name",
    "last-name",
    "email",
    "phone",
    "partial",
    "json",
];

/// Rules, and the secret that makes their result repeatable.
#[derive(Debug, Clone)]
pub struct Rules {
    pub(super) rules: Vec<Rule>,
    pub(super) secret: Secret,
}

/// One rule. Of several that fit a column the first one counts.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) columns: Vec<ColumnPattern>,
    pub(super) method: Method,
}

/// `column`, `table.column` or `schema.table.column`, each with `*`.
#[derive(Debug, Clone)]
pub(super) struct ColumnPattern {
    pub(super) text: String,
    schema: Pattern,
    table: Pattern,
    column: Pattern,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    secret_env: Option<String>,
    secret_file: Option<PathBuf>,
    secret_command: Option<String>,
    #[serde(default)]
    rule: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    columns: Vec<String>,
    method: String,
    value: Option<String>,
    start: Option<usize>,
    end: Option<usize>,
    paths: Option<BTreeMap<String, String>>,
}

impl Rules {
    /// Reads a file of rules, and the secret. Relative paths in it are relative to its folder.
    ///
    /// Errors, as kind `Usage`: the file cannot be read or understood; there is no secret, or a short one.
    pub fn read(file: &FilePath, env: &Environment) -> Result<Self, EngineError> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| EngineError::usage(format!("cannot read {}: {error}", file.display())))?;
        let folder = file.parent().unwrap_or(FilePath::new(""));
        Self::parse(&text, folder, env).map_err(|error| error.within(file.display()))
    }

    fn parse(text: &str, folder: &FilePath, env: &Environment) -> Result<Self, EngineError> {
        let file: File = toml::from_str(text).map_err(|error| {
            EngineError::usage(error.to_string().trim_end().to_owned())
                .hint("docs/EXPORT.md describes the file")
        })?;
        let rules = file.rule.iter().map(Rule::read).collect::<Result<Vec<_>, _>>()?;
        if rules.is_empty() {
            return Err(EngineError::usage("it has no [[rule]]").hint("docs/EXPORT.md describes the file"));
        }
        let secret = secret(&file, folder, env)?;
        if secret.expose().len() < SHORTEST_SECRET {
            return Err(EngineError::usage(format!(
                "the secret for masks is shorter than {SHORTEST_SECRET} bytes"
            ))
            .hint("who guesses it can find out what was masked; `openssl rand -hex 32` makes a good one"));
        }
        Ok(Self { rules, secret })
    }
}

fn secret(file: &File, folder: &FilePath, env: &Environment) -> Result<Secret, EngineError> {
    let variable = |suffix: &str| env.var(&format!("{SECRET_VARIABLE}{suffix}")).map(str::to_owned);
    let mut given = vec![
        file.secret_env.clone().map(PasswordFrom::Env),
        file.secret_file.as_ref().map(|path| PasswordFrom::File(folder.join(path))),
        file.secret_command.clone().map(PasswordFrom::Command),
    ];
    if given.iter().all(Option::is_none) {
        given = vec![
            variable("").map(|_| PasswordFrom::Env(SECRET_VARIABLE.into())),
            variable("_FILE").map(|path| PasswordFrom::File(path.into())),
            variable("_COMMAND").map(PasswordFrom::Command),
        ];
    }
    let mut given = given.into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(from), None) => {
            from.read(env, &Dotenv::default()).map_err(|error| error.within("the secret for masks"))
        }
        (Some(_), Some(_)) => Err(EngineError::usage("the secret for masks is given more than once")),
        (None, _) => Err(EngineError::usage("there is no secret for masks")
            .hint(format!("set {SECRET_VARIABLE}, {SECRET_VARIABLE}_FILE or {SECRET_VARIABLE}_COMMAND"))
            .hint("or write secret_env, secret_file or secret_command into the file; the same secret gives the same masks")),
    }
}

impl Rule {
    fn read(entry: &Entry) -> Result<Self, EngineError> {
        let columns =
            entry.columns.iter().map(|text| ColumnPattern::read(text)).collect::<Result<Vec<_>, _>>()?;
        let method = Self::method(entry)
            .map_err(|error| error.within(format!("the rule for {}", entry.columns.join(", "))))?;
        match columns.is_empty() {
            true => Err(EngineError::usage("a rule names no columns")),
            false => Ok(Self { columns, method }),
        }
    }

    fn method(entry: &Entry) -> Result<Method, EngineError> {
        let wanted: &[&str] = match entry.method.as_str() {
            "constant" => &["value"],
            "partial" => &["start", "end"],
            "json" => &["paths"],
            _ => &[],
        };
        let given = [
            ("value", entry.value.is_some()),
            ("start", entry.start.is_some()),
            ("end", entry.end.is_some()),
            ("paths", entry.paths.is_some()),
        ];
        if let Some((name, _)) = given.iter().find(|(name, given)| *given && !wanted.contains(name)) {
            return Err(EngineError::usage(format!("method {} has no `{name}`", entry.method)));
        }
        match entry.method.as_str() {
            "constant" => match &entry.value {
                Some(value) if !value.contains('\0') => Ok(Method::Constant(value.clone())),
                _ => Err(EngineError::usage("method constant needs a `value`")),
            },
            "partial" => Ok(Method::Partial { start: entry.start.unwrap_or(0), end: entry.end.unwrap_or(0) }),
            "json" => match &entry.paths {
                Some(paths) if !paths.is_empty() => paths
                    .iter()
                    .map(|(path, method)| inner(path, method))
                    .collect::<Result<_, _>>()
                    .map(Method::Json),
                _ => {
                    Err(EngineError::usage("method json needs `paths`, such as { \"$.email\" = \"email\" }"))
                }
            },
            name => simple(name),
        }
    }
}

fn inner(path: &str, method: &str) -> Result<(Path, Method), EngineError> {
    let parsed = Path::parse(path).ok_or_else(|| {
        EngineError::usage(format!("'{path}' is no path into JSON"))
            .hint("such as $.email, $.addresses[*].street or $.*.name")
    })?;
    Ok((parsed, simple(method)?))
}

/// A method without settings.
fn simple(name: &str) -> Result<Method, EngineError> {
    Ok(match name {
        "keep" => Method::Keep,
        "null" => Method::Null,
        "hash" => Method::Hash,
        "name" => Method::Name,
        "first-name" => Method::FirstName,
        "last-name" => Method::LastName,
        "email" => Method::Email,
        "phone" => Method::Phone,
        "constant" | "partial" | "json" => {
            return Err(EngineError::usage(format!(
                "method {name} needs settings, which it cannot have here"
            )));
        }
        _ => {
            let hint = match nearest(name, &METHODS) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("one of: {}", METHODS.join(", ")),
            };
            return Err(EngineError::usage(format!("there is no method '{name}'")).hint(hint));
        }
    })
}

impl ColumnPattern {
    fn read(text: &str) -> Result<Self, EngineError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = first_dot(rest) {
            parts.push(&rest[..at]);
            rest = &rest[at + 1..];
        }
        parts.push(rest);
        if parts.len() > 3 || parts.iter().any(|part| part.is_empty()) {
            return Err(EngineError::usage(format!("'{text}' is no name of a column")).hint(
                "write schema.table.column, table.column or column, such as public.users.phone or '*.email'",
            ));
        }
        let mut parts = parts.into_iter().rev().map(Pattern::new);
        let (column, table, schema) = (parts.next(), parts.next(), parts.next());
        Ok(Self {
            text: text.to_owned(),
            schema: schema.unwrap_or_else(Pattern::any),
            table: table.unwrap_or_else(Pattern::any),
            column: column.unwrap_or_else(Pattern::any),
        })
    }

    pub(super) fn matches(&self, schema: &str, table: &str, column: &str) -> bool {
        self.column.matches(column) && self.table.matches(table) && self.schema.matches(schema)
    }

    /// Whether it must fit something: it names columns without a star.
    pub(super) fn is_exact(&self) -> bool {
        !self.text.contains('*')
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn env(secret: &str) -> Environment {
        Environment { vars: [(SECRET_VARIABLE.to_owned(), secret.to_owned())].into(), home: None, user: None }
    }

    /// Rules with a secret of their own.
    pub(in crate::mask) fn rules(text: &str) -> Result<Rules, EngineError> {
        Rules::parse(text, FilePath::new(""), &env("a secret of the tests"))
    }

    #[test]
    fn a_file_of_rules_is_read() {
        let read = rules(
            r#"
            [[rule]]
            columns = ["*.email", "public.users.\"e.mail\""]
            method = "email"
            [[rule]]
            columns = ["notes"]
            method = "partial"
            start = 2
            [[rule]]
            columns = ["auth.users.raw_user_meta_data"]
            method = "json"
            paths = { "$.email" = "email", "$.name" = "name" }
            "#,
        )
        .unwrap();
        assert_eq!(read.rules.len(), 3);
        let column = |number: usize, at: usize| &read.rules[number].columns[at];
        assert!(
            column(0, 0).matches("any", "users", "email") && !column(0, 0).matches("any", "users", "mail")
        );
        assert!(column(0, 1).matches("public", "users", "e.mail") && column(0, 1).is_exact());
        assert!(column(1, 0).matches("any", "table", "notes"));
        assert_eq!(read.rules[1].method, Method::Partial { start: 2, end: 0 });
        assert!(!format!("{read:?}").contains("a secret of the tests"));
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let rule = |text: &str| format!("[[rule]]\ncolumns = [\"a\"]\n{text}");
        for (text, part) in [
            (String::new(), "no [[rule]]"),
            ("[[rules]]".into(), "unknown field `rules`"),
            (rule("method = \"emial\""), "no method 'emial'"),
            (rule("method = \"constant\""), "needs a `value`"),
            (rule("method = \"hash\"\nvalue = \"x\""), "has no `value`"),
            (rule("method = \"json\"\npaths = { email = \"email\" }"), "no path"),
            ("[[rule]]\ncolumns = [\"a.b.c.d\"]\nmethod = \"hash\"".into(), "no name of a column"),
            ("[[rule]]\ncolumns = []\nmethod = \"hash\"".into(), "names no columns"),
        ] {
            let error = rules(&text).unwrap_err();
            assert!(error.message().contains(part), "{error}");
        }
    }

    #[test]
    fn the_secret_comes_from_one_place_and_is_not_short() {
        let text = "[[rule]]\ncolumns = [\"a\"]\nmethod = \"hash\"";
        let folder = tempfile::tempdir().unwrap();
        let none = Environment { vars: BTreeMap::new(), home: None, user: None };
        let parse = |text: &str, env: &Environment| Rules::parse(text, folder.path(), env);
        assert!(parse(text, &none).unwrap_err().message().contains("no secret"));
        assert!(parse(text, &env("short")).unwrap_err().message().contains("shorter"));
        std::fs::write(folder.path().join("key"), "from a small file\n").unwrap();
        let with_file = format!("secret_file = \"key\"\n{text}");
        assert_eq!(parse(&with_file, &env("another secret")).unwrap().secret.expose(), "from a small file");
        let twice = format!("secret_file = \"key\"\nsecret_env = \"X\"\n{text}");
        assert!(parse(&twice, &none).unwrap_err().message().contains("more than once"));
    }
}
