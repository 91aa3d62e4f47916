//! The text of a new `basekeep.toml`: commented, and working as it stands.

use basekeep_engine::config::PasswordFrom;

/// Where comments stand.
const COLUMN: usize = 40;

/// One source to be written down.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    pub(super) name: &'a str,
    pub(super) url: &'a str,
    /// Where it was found, for the comment.
    pub(super) found: &'a str,
    pub(super) password: Option<String>,
    /// The password's variable is looked up in this project's `.env` files.
    pub(super) project: bool,
}

/// The line for a password; `path` renders a file's path.
pub(super) fn password_line(from: &PasswordFrom, path: impl Fn(&std::path::Path) -> String) -> String {
    match from {
        PasswordFrom::Env(name) => format!("password_env = {}", quote(name)),
        PasswordFrom::File(file) => format!("password_file = {}", quote(&path(file))),
        PasswordFrom::Command(command) => format!("password_command = {}", quote(command)),
    }
}

/// The whole file.
pub(super) fn render(repository_url: &str, repository_password: &str, sources: &[Entry<'_>]) -> String {
    let mut text = String::from(
        "# What basekeep backs up, and where to. `basekeep doctor` checks it; relative paths start at this file's folder.\n\
         \n\
         [repository]\n",
    );
    text += &commented(&format!("url = {}", quote(repository_url)), "a folder");
    text += &commented(repository_password, "save it elsewhere too: without it nobody can read the backups");
    for source in sources {
        text += &format!("\n{}", commented(&format!("[source.{}]", key(source.name)), source.found));
        text += &format!("url = {}\n", quote(source.url));
        if let Some(line) = &source.password {
            text += &match source.project {
                true => commented(line, "from the environment, or .env.local or .env of `project`"),
                false => format!("{line}\n"),
            };
        }
        if source.project {
            text += "project = \".\"\n";
        }
    }
    text += "\n# Another database is another section. Passwords do not stand in this file; name where they come from:\n\
             # password_env = \"VARIABLE\", password_file = \"~/file\" or password_command = \"pass show database\".\n\
             # PGPASSWORD and ~/.pgpass work too.\n\
             #\n\
             # [source.production]\n\
             # url = \"postgresql://postgres.ref@aws-0-eu-central-1.pooler.supabase.com:5432/postgres\"\n\
             # password_env = \"SUPABASE_DB_PASSWORD\"\n\
             # profile = \"production\"\n\
             #\n\
             # A profile says what `basekeep forget` keeps of the sources that name it, and when `basekeep serve` does what.\n\
             # development, staging, production and latest-only are built in (docs/SERVE.md); a section changes one:\n\
             #\n\
             # [profile.production]\n\
             # backup = \"0 */6 * * *\"\n\
             # keep = { last = 8, within_daily = \"30d\", monthly = 12, max = 50 }\n\
             #\n\
             # From when on `basekeep monitor` alerts, and who is told (docs/MONITOR.md, docs/ALERTS.md):\n\
             #\n\
             # [alerts]\n\
             # backup_age_hours = 24\n\
             # growth_daily_percent = 10\n\
             # notify = [{ slack_env = \"SLACK_WEBHOOK\" }]\n\
             #\n\
             # A plain copy after each backup, as SQL and more, which needs no basekeep to be read:\n\
             #\n\
             # [export]\n\
             # folder = \"./plain\"\n\
             # keep = \"30d\"\n";
    text
}

/// A line with its comment, behind it in one column, or before it where the line is long.
fn commented(line: &str, comment: &str) -> String {
    let comment = comment.replace(['\n', '\r'], " ");
    match line.chars().count() {
        0..COLUMN => format!("{line:<COLUMN$} # {comment}\n"),
        _ => format!("# {comment}\n{line}\n"),
    }
}

fn quote(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn key(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if bare { name.to_owned() } else { quote(name) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use basekeep_engine::config::Config;
    use basekeep_engine::postgres::Environment;
    use std::path::Path;

    #[test]
    fn what_is_written_is_read_back_as_it_was_meant() {
        let entries = [
            Entry {
                name: "factory-pulse",
                url: "postgresql://postgres@127.0.0.1:54322/postgres",
                found: "found in supabase/config.toml",
                password: Some("password_env = \"DB_PASSWORD\"".to_owned()),
                project: true,
            },
            Entry {
                name: "odd \"name\"",
                url: "host=/tmp dbname='a b'",
                found: "x\ny",
                password: None,
                project: false,
            },
        ];
        let key = PasswordFrom::File("/home/ada/.config/basekeep/repository.key".into());
        let line = password_line(&key, |path| path.display().to_string().replace("/home/ada", "~"));
        let text = render("./backups", &line, &entries);
        let env = Environment { home: Some("/home/ada".into()), ..Environment::default() };
        let config = Config::parse(&text, Path::new("/project/basekeep.toml"), &env).unwrap();
        assert_eq!(config.repository.url.as_deref(), Some("/project/backups"));
        assert_eq!(config.repository.password, Some(key));
        assert_eq!(config.sources.len(), 2);
        assert_eq!(config.sources[0].password, Some(PasswordFrom::Env("DB_PASSWORD".to_owned())));
        assert_eq!(config.sources[0].project.as_deref(), Some(Path::new("/project")));
        assert_eq!(config.sources[1].name, "odd \"name\"");
        assert_eq!(config.sources[1].url.expose(), "host=/tmp dbname='a b'");
    }

    #[test]
    fn the_examples_in_the_comments_are_valid() {
        let text = render("./backups", "password_env = \"X\"", &[]);
        let (_, examples) = text.split_once("#\n").unwrap();
        let lines = examples.lines().filter_map(|line| line.strip_prefix("# "));
        let is_example = |line: &&str| {
            line.starts_with('[') || line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '))
        };
        let example: String = lines.filter(is_example).map(|line| format!("{line}\n")).collect();
        let config = Config::parse(&example, Path::new("/p/basekeep.toml"), &Environment::default()).unwrap();
        assert_eq!(config.sources[0].name, "production");
        assert!(config.profile_of("production").unwrap().keep.is_some());
    }
}
