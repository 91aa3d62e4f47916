//! All of libpq's parameters by keyword, with the environment variable of each.

use super::ConninfoError;
use crate::environment::Environment;
use std::collections::BTreeMap;

/// Keyword and environment variable of every parameter of libpq 13 to 18.
const KNOWN: &[(&str, Option<&str>)] = &[
    ("application_name", Some("PGAPPNAME")),
    ("channel_binding", Some("PGCHANNELBINDING")),
    ("client_encoding", Some("PGCLIENTENCODING")),
    ("connect_timeout", Some("PGCONNECT_TIMEOUT")),
    ("dbname", Some("PGDATABASE")),
    ("fallback_application_name", None),
    ("gssdelegation", Some("PGGSSDELEGATION")),
    ("gssencmode", Some("PGGSSENCMODE")),
    ("gsslib", Some("PGGSSLIB")),
    ("host", Some("PGHOST")),
    ("hostaddr", Some("PGHOSTADDR")),
    ("keepalives", None),
    ("keepalives_count", None),
    ("keepalives_idle", None),
    ("keepalives_interval", None),
    ("krbsrvname", Some("PGKRBSRVNAME")),
    ("load_balance_hosts", Some("PGLOADBALANCEHOSTS")),
    ("max_protocol_version", Some("PGMAXPROTOCOLVERSION")),
    ("min_protocol_version", Some("PGMINPROTOCOLVERSION")),
    ("oauth_client_id", None),
    ("oauth_client_secret", None),
    ("oauth_issuer", None),
    ("oauth_scope", None),
    ("options", Some("PGOPTIONS")),
    ("passfile", Some("PGPASSFILE")),
    ("password", Some("PGPASSWORD")),
    ("port", Some("PGPORT")),
    ("replication", None),
    ("require_auth", Some("PGREQUIREAUTH")),
    ("requirepeer", Some("PGREQUIREPEER")),
    ("scram_client_key", None),
    ("scram_server_key", None),
    ("service", Some("PGSERVICE")),
    ("servicefile", Some("PGSERVICEFILE")),
    ("ssl_max_protocol_version", Some("PGSSLMAXPROTOCOLVERSION")),
    ("ssl_min_protocol_version", Some("PGSSLMINPROTOCOLVERSION")),
    ("sslcert", Some("PGSSLCERT")),
    ("sslcertmode", Some("PGSSLCERTMODE")),
    ("sslcompression", Some("PGSSLCOMPRESSION")),
    ("sslcrl", Some("PGSSLCRL")),
    ("sslcrldir", Some("PGSSLCRLDIR")),
    ("sslkey", Some("PGSSLKEY")),
    ("sslkeylogfile", None),
    ("sslmode", Some("PGSSLMODE")),
    ("sslnegotiation", Some("PGSSLNEGOTIATION")),
    ("sslpassword", None),
    ("sslrootcert", Some("PGSSLROOTCERT")),
    ("sslsni", Some("PGSSLSNI")),
    ("target_session_attrs", Some("PGTARGETSESSIONATTRS")),
    ("tcp_user_timeout", None),
    ("user", Some("PGUSER")),
];

/// Variables that change what a libpq program does and belong to no parameter, or to none that is passed on.
const OTHER_VARIABLES: &[&str] =
    &["PGDATESTYLE", "PGGEQO", "PGREQUIRESSL", "PGSYSCONFDIR", "PGTZ", "PGTTY", "PGREALM"];

/// Parameters that are set, by keyword. Values may be passwords: no `Debug`.
pub(super) type Parameters = BTreeMap<&'static str, String>;

/// The keyword as it is spelt in the list; an error that names the nearest one when it is unknown.
pub(super) fn known(keyword: &str) -> Result<&'static str, ConninfoError> {
    if let Some((name, _)) = KNOWN.iter().find(|(name, _)| *name == keyword) {
        return Ok(name);
    }
    let error = ConninfoError::new(format!("unknown connection parameter \"{keyword}\""));
    if matches!(
        keyword,
        "pgbouncer" | "connection_limit" | "pool_timeout" | "schema" | "statement_cache_size"
    ) {
        return Err(
            error.hint(format!("\"{keyword}\" belongs to an application's driver: leave it out here"))
        );
    }
    let nearest = KNOWN
        .iter()
        .map(|(name, _)| (strsim::damerau_levenshtein(&keyword.to_ascii_lowercase(), name), *name))
        .min()
        .filter(|(distance, name)| *distance <= 2 + name.len() / 4);
    Err(match nearest {
        Some((_, name)) => error.hint(format!("did you mean \"{name}\"?")),
        None => error,
    })
}

/// The environment variable of a parameter.
pub(super) fn variable_of(keyword: &str) -> Option<&'static str> {
    KNOWN.iter().find(|(name, _)| *name == keyword).and_then(|(_, variable)| *variable)
}

/// Every variable that libpq or a client program reads.
pub(super) fn all_variables() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().filter_map(|(_, variable)| *variable).chain(OTHER_VARIABLES.iter().copied())
}

/// Sets what is not set yet from the environment.
pub(super) fn fill_from_environment(parameters: &mut Parameters, env: &Environment) {
    for (name, variable) in KNOWN {
        if let Some(value) = variable.and_then(|v| env.var(v)) {
            parameters.entry(name).or_insert_with(|| value.to_owned());
        }
    }
    if env.var("PGREQUIRESSL").is_some_and(|v| v.starts_with('1')) {
        parameters.entry("sslmode").or_insert_with(|| "require".to_owned());
    }
}
