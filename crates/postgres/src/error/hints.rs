//! What the user can do about an error.

use super::{Error, ServerError};
use std::io::ErrorKind;

pub(super) fn of(error: &Error) -> Vec<String> {
    let one = |hint: &str| vec![hint.to_owned()];
    match error {
        Error::Server(e) => of_server(e),
        Error::Connect { endpoint, source } => of_connect(endpoint, source),
        Error::HostNotFound { .. } => one(
            "check the spelling of the host and this machine's network; some hosts have IPv6 addresses only (a direct Supabase connection, for example: use its session pooler)",
        ),
        Error::WrongServer { .. } => one("name another host, or leave target_session_attrs out"),
        Error::Io(_) => one("the server's log says whether it was restarted or ended the session; try again"),
        Error::Tls { reason, .. } => of_tls(reason),
        Error::Authentication(_) => Vec::new(),
        Error::PasswordMissing { file_problem, .. } => {
            let mut hints: Vec<String> = file_problem.iter().cloned().collect();
            hints.push(
                "give it in PGPASSWORD or in ~/.pgpass (host:port:database:user:password, chmod 0600)"
                    .to_owned(),
            );
            hints
        }
        Error::Protocol(_) => one("is this the port of a PostgreSQL server?"),
        Error::Conninfo(e) => e.hints().to_vec(),
        Error::Timeout { .. } => one(
            "a firewall may drop the packets: check host, port and the server's list of allowed addresses; connect_timeout sets the limit in seconds",
        ),
        Error::Closed | Error::Usage(_) | Error::Value { .. } => Vec::new(),
    }
}

fn of_connect(endpoint: &str, source: &std::io::Error) -> Vec<String> {
    let socket = endpoint.starts_with(['/', '@']);
    let hint = match source.kind() {
        ErrorKind::ConnectionRefused if socket => {
            "a socket is there and no server behind it: start the server"
        }
        ErrorKind::ConnectionRefused => {
            "no server listens there: is it running, is the port right, does listen_addresses include this address?"
        }
        ErrorKind::NotFound => {
            "there is no such socket: is the server running, and is this its directory (unix_socket_directories) and port? give host=… for TCP"
        }
        ErrorKind::PermissionDenied if socket => {
            "this user may not enter the socket's directory: give host=… for TCP"
        }
        ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable => {
            "the address cannot be reached from here; an IPv6 address needs IPv6 on this machine (Supabase: use the session pooler, which has IPv4)"
        }
        _ => return Vec::new(),
    };
    vec![hint.to_owned()]
}

fn of_tls(reason: &str) -> Vec<String> {
    let hint = if reason.contains("does not support it") {
        "the server has no TLS: switch it on there, or use sslmode=prefer or disable when the network is trusted"
    } else if reason.contains("not trusted") {
        "sslrootcert must name the certificate of the authority that signed the server's (a provider offers it for download)"
    } else if reason.contains("UnsupportedCertVersion") {
        "the certificate is of X.509 version 1: issue it anew with a subjectAltName"
    } else if reason.contains("client certificate") {
        "name your certificate in sslcert and its key in sslkey"
    } else if reason.contains("root certificate") {
        "save the provider's root certificate and name it in sslrootcert, or use sslrootcert=system for a public one"
    } else if reason.contains("not valid for") {
        "use the host name that the certificate was issued for, or sslmode=verify-ca"
    } else {
        return Vec::new();
    };
    vec![hint.to_owned()]
}

fn of_server(error: &ServerError) -> Vec<String> {
    let mut hints = Vec::new();
    let mut add = |hint: &str| hints.push(hint.to_owned());
    let message = error.message.as_str();
    match error.code.as_str() {
        "28P01" => {
            match &error.password_file {
                Some(file) => add(&format!("the password came from {file}")),
                None => add(
                    "check user and password; in a URL special characters of the password are percent-encoded",
                ),
            }
            if message.contains("Tenant or user not found") {
                add("a pooler's user is named user.project");
            }
        }
        "28000" if message.contains("pg_hba.conf") && message.contains("no encryption") => {
            add("the server demands TLS here: use sslmode=require");
        }
        "28000" if message.contains("pg_hba.conf") => {
            add("the server's pg_hba.conf has no line for this address, user and database");
        }
        "28000" if message.contains("Peer authentication") || message.contains("Ident authentication") => {
            add(
                "the server compares the system's user with the role: give user=…, or host=localhost and a password",
            );
        }
        "28000" if message.contains("certificate") => {
            add("the role logs in with a client certificate: sslcert=… and sslkey=…")
        }
        "28000" => add("check the role: does it exist, and may it log in?"),
        "3D000" => add("check the database's name (psql -l lists them)"),
        "53200" if message.contains("shared memory") => add(
            "the server's lock table is full: raise max_locks_per_transaction (every table is locked once by the backup, once by pg_dump)",
        ),
        "53300" => add("all connections are taken: wait, close some, or use fewer jobs"),
        "57P03" => add("the server is starting up, shutting down or recovering: try again in a moment"),
        "42501" => add(
            "use a role that owns these objects, a superuser, or one that is a member of pg_read_all_data",
        ),
        "57P01" if message.contains("conflict with recovery") => add(
            "the standby ended the session because what it replays contradicts it (a dropped database or tablespace, for instance)",
        ),
        "57P01" => add("the server was told to end this session (a restart, or pg_terminate_backend)"),
        "55P03" => add(
            "somebody holds a lock on it, or waits for one: a migration, perhaps; try again when that is done",
        ),
        // Canceled on a standby: what is replayed there contradicts what the snapshot must still see.
        "40001" | "40P01" if message.contains("conflict with recovery") => add(
            "the standby replays what this snapshot still needs: set hot_standby_feedback = on there, raise max_standby_streaming_delay (and max_standby_archive_delay) above the time that a backup takes, or back up the primary",
        ),
        "57P02" | "57P05" => add("the server ended the session; try again"),
        "57014" => add("the command was cancelled, or ran into a timeout of the server (statement_timeout)"),
        _ => {}
    }
    // The server's own hint may name objects, never rows.
    hints.extend(error.hint.clone());
    hints
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorClass;

    fn check(code: &str, message: &str, class: ErrorClass, hint: &str) {
        let server = ServerError {
            severity: "FATAL".into(),
            code: code.into(),
            message: message.into(),
            ..Default::default()
        };
        let error = Error::Server(Box::new(server));
        assert_eq!(error.class(), class, "{code}");
        assert!(error.hints().iter().any(|h| h.contains(hint)), "{code}: {:?}", error.hints());
    }

    #[test]
    fn refusals_of_the_server_say_what_to_do() {
        check(
            "28P01",
            "password authentication failed",
            ErrorClass::Authentication,
            "check user and password",
        );
        check(
            "28000",
            "no pg_hba.conf entry for host \"x\", no encryption",
            ErrorClass::Authentication,
            "sslmode=require",
        );
        check(
            "28000",
            "Peer authentication failed for user \"x\"",
            ErrorClass::Authentication,
            "host=localhost",
        );
        check("3D000", "database \"x\" does not exist", ErrorClass::Usage, "psql -l");
        check("53300", "sorry, too many clients already", ErrorClass::Unreachable, "fewer jobs");
        check("55P03", "canceling statement due to lock timeout", ErrorClass::Server, "a migration");
        check(
            "40001",
            "canceling statement due to conflict with recovery",
            ErrorClass::Server,
            "hot_standby_feedback",
        );
        check(
            "57P01",
            "terminating connection due to conflict with recovery",
            ErrorClass::LostConnection,
            "standby",
        );
        check("57P03", "the database system is starting up", ErrorClass::Unreachable, "try again");
        check("42501", "permission denied for table t", ErrorClass::Denied, "pg_read_all_data");
        check("57P01", "terminating connection", ErrorClass::LostConnection, "pg_terminate_backend");
    }

    #[test]
    fn a_refused_connection_says_what_to_check() {
        let refused = |endpoint: &str| Error::Connect {
            endpoint: endpoint.into(),
            source: ErrorKind::ConnectionRefused.into(),
        };
        assert!(refused("h:1").hints()[0].contains("listen_addresses"));
        assert!(refused("/tmp/.s.PGSQL.1").hints()[0].contains("start the server"));
        assert_eq!(refused("h:1").class(), ErrorClass::Unreachable);
    }
}
