//! Connection URLs on their way into a configuration: without passwords, and without what only other programs know.

use basekeep_engine::EngineError;
use basekeep_engine::config::connect_options;
use basekeep_engine::postgres::{Environment, Secret};

/// A URL that may stand in basekeep.toml, and the password that was taken out of it.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::commands) struct Address {
    pub(in crate::commands) url: String,
    pub(in crate::commands) password: Option<Secret>,
    /// What was changed beyond that, for people.
    pub(in crate::commands) note: Option<String>,
}

/// Parameters that object-relational mappers put into URLs and that PostgreSQL does not know.
const FOREIGN: [&str; 9] = [
    "schema",
    "pgbouncer",
    "connection_limit",
    "pool_timeout",
    "socket_timeout",
    "statement_cache_size",
    "sslaccept",
    "supa",
    "workaround",
];

/// Takes the password and foreign parameters out of a URL or conninfo string. The error is that of the URL itself.
pub(in crate::commands) fn take(text: &str) -> Result<Address, EngineError> {
    // Nothing but the text itself counts here: no PGPASSWORD, no .pgpass.
    let bare = Environment { user: Some("nobody".to_owned()), ..Environment::default() };
    let text = text.trim();
    let Some((scheme, rest)) = text.split_once("://") else {
        let options = connect_options(text, &bare)?;
        let password = password_of(&options);
        let url = if password.is_some() { options.redacted() } else { text.to_owned() };
        return Ok(Address { url, password, note: None });
    };
    let (before, query) = rest.split_once('?').map_or((rest, ""), |(before, query)| (before, query));
    let parameters = query.split('&').filter(|p| !p.is_empty() && !FOREIGN.contains(&name_of(p)));
    let whole = join(scheme, before, parameters.clone());
    let password = password_of(&connect_options(&whole, &bare)?);

    let (authority, path) = before.find('/').map_or((before, ""), |slash| before.split_at(slash));
    let (user, host) = authority.rsplit_once('@').map_or(("", authority), |(user, host)| (user, host));
    let user = user.split(':').next().unwrap_or_default();
    let (host, note) = session_pooler(host);
    let at = if user.is_empty() { "" } else { "@" };
    let url =
        join(scheme, &format!("{user}{at}{host}{path}"), parameters.filter(|p| name_of(p) != "password"));
    Ok(Address { url, password, note })
}

fn name_of(parameter: &str) -> &str {
    parameter.split('=').next().unwrap_or_default()
}

fn join<'a>(scheme: &str, before: &str, parameters: impl Iterator<Item = &'a str>) -> String {
    let query: Vec<&str> = parameters.collect();
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{scheme}://{before}{mark}{}", query.join("&"))
}

fn password_of(options: &basekeep_engine::postgres::ConnectOptions) -> Option<Secret> {
    let variables = options.child_environment();
    let (_, value) = variables.iter().find(|(name, _)| name == "PGPASSWORD")?;
    Some(Secret::new(value.to_str()?)).filter(|password| !password.expose().is_empty())
}

/// Supabase's pooler hands a connection to others between transactions on port 6543; the same host keeps it on 5432.
fn session_pooler(host: &str) -> (String, Option<String>) {
    match host.strip_suffix(":6543") {
        Some(name) if name.ends_with(".pooler.supabase.com") => (
            format!("{name}:5432"),
            Some(
                "port 5432 in place of 6543, because the pooler's transaction mode cannot hold a snapshot"
                    .to_owned(),
            ),
        ),
        _ => (host.to_owned(), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, url: &str, password: Option<&str>) {
        let address = take(text).unwrap();
        assert_eq!(address.url, url);
        assert_eq!(address.password.as_ref().map(Secret::expose), password);
    }

    #[test]
    fn passwords_leave_the_url() {
        check("postgresql://u:p%40ss@h:5433/d", "postgresql://u@h:5433/d", Some("p@ss"));
        check("postgres://u@h/d?password=x&sslmode=require", "postgres://u@h/d?sslmode=require", Some("x"));
        check("postgresql://u@h/d", "postgresql://u@h/d", None);
        check("postgresql:///d?host=/tmp", "postgresql:///d?host=/tmp", None);
        check("host=/tmp dbname=d", "host=/tmp dbname=d", None);
        let address = take("host=h user=u dbname=d password=geheim").unwrap();
        assert!(!address.url.contains("geheim"), "{}", address.url);
        assert_eq!(address.password.unwrap().expose(), "geheim");
    }

    #[test]
    fn parameters_of_other_programs_are_left_out() {
        check(
            "postgresql://u:p@h:5432/d?schema=public&sslmode=require&pgbouncer=true",
            "postgresql://u@h:5432/d?sslmode=require",
            Some("p"),
        );
        assert!(take("postgresql://u@h/d?nonsense=1").is_err());
    }

    #[test]
    fn the_transaction_pooler_becomes_the_session_pooler() {
        let pooler = "aws-0-eu-central-1.pooler.supabase.com";
        let address = take(&format!("postgresql://postgres.ref:p@{pooler}:6543/postgres")).unwrap();
        assert_eq!(address.url, format!("postgresql://postgres.ref@{pooler}:5432/postgres"));
        assert!(address.note.is_some());
    }
}
