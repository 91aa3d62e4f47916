//! The resolved connection options and what they are passed on as.

use super::parameters::{self, Parameters};
use super::passfile::{self, Found, Wanted};
use super::settings::{Endpoint, RootCertificates, Settings, SslMode};
use super::{ConninfoError, gather};
use crate::environment::Environment;
use crate::secret::Secret;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where and how to connect, everything resolved: nothing is asked of the environment later.
#[derive(Clone)]
pub struct ConnectOptions {
    /// As given and gathered, without the password: what a child process gets.
    parameters: Arc<Parameters>,
    pub(crate) settings: Settings,
    /// A password that holds for all hosts.
    given_password: Option<Secret>,
    /// What the password file gave for each endpoint.
    found: Vec<Found>,
}

impl ConnectOptions {
    /// Resolves a URL or `key=value` string: given parameters, then the service file, then the environment, then
    /// defaults; then the password file. An empty string takes everything from the environment.
    pub fn resolve(conninfo: &str, env: &Environment) -> Result<Self, ConninfoError> {
        let mut parameters = gather(conninfo, env)?;
        let settings = Settings::read(&parameters, env)?;
        let given_password = parameters.remove("password").filter(|p| !p.is_empty()).map(Secret::new);
        let mut options =
            Self { parameters: Arc::new(parameters), settings, given_password, found: Vec::new() };
        options.look_up_passwords();
        Ok(options)
    }

    /// The same server, another database. An entry of the password file for that database is used.
    pub fn with_database(&self, name: &str) -> Self {
        let mut options = self.clone();
        options.settings.database = name.to_owned();
        options.look_up_passwords();
        options
    }

    /// The same as another role; a password that was given for the first one is dropped.
    pub fn with_user(&self, name: &str, password: Option<Secret>) -> Self {
        let mut options = self.clone();
        options.settings.user = name.to_owned();
        options.given_password = password;
        options.look_up_passwords();
        options
    }

    /// The same with this password.
    pub fn with_password(mut self, password: Secret) -> Self {
        self.given_password = Some(password);
        self
    }

    /// The endpoint at `index` alone, as `endpoint`.
    pub(crate) fn narrowed_to(&self, index: usize, endpoint: Endpoint) -> Self {
        let mut options = self.clone();
        options.found = self.found.get(index).cloned().into_iter().collect();
        options.settings.endpoints = vec![endpoint];
        options
    }

    /// Database name.
    pub fn database(&self) -> &str {
        &self.settings.database
    }

    /// First host: a name, an address or a socket directory.
    pub fn host(&self) -> &str {
        self.settings.endpoints.first().map_or("", |e| &e.host)
    }

    /// First port.
    pub fn port(&self) -> u16 {
        self.settings.endpoints.first().map_or(5432, |e| e.port)
    }

    /// Role.
    pub fn user(&self) -> &str {
        &self.settings.user
    }

    /// Whether a password is known for the first host.
    pub fn has_password(&self) -> bool {
        self.password_for(0).is_some()
    }

    pub(crate) fn password_for(&self, endpoint: usize) -> Option<&Secret> {
        self.given_password.as_ref().or_else(|| match self.found.get(endpoint) {
            Some(Found::Password(password)) => Some(password),
            _ => None,
        })
    }

    /// Why the password file was not used, when it was there.
    pub(crate) fn password_file_problem(&self) -> Option<&str> {
        self.found.iter().find_map(|found| match found {
            Found::Ignored(why) => Some(why.as_str()),
            _ => None,
        })
    }

    /// Whether the password in use is one of the password file.
    pub(crate) fn password_is_from_file(&self) -> Option<&Path> {
        let from_file =
            self.given_password.is_none() && self.found.iter().any(|f| matches!(f, Found::Password(_)));
        self.settings.passfile.as_deref().filter(|_| from_file)
    }

    fn look_up_passwords(&mut self) {
        let Some(path) = self.settings.passfile.clone().filter(|_| self.given_password.is_none()) else {
            return;
        };
        self.found = (self.settings.endpoints.iter())
            .map(|endpoint| {
                let default_directory =
                    endpoint.is_socket() && matches!(endpoint.host.as_str(), "/var/run/postgresql" | "/tmp");
                let host = if default_directory { "localhost" } else { &endpoint.host };
                let mut wanted =
                    Wanted { host, port: endpoint.port, database: self.database(), user: self.user() };
                match passfile::look_up(&path, &wanted) {
                    // An entry may also name the directory itself.
                    Found::Nothing if default_directory => {
                        wanted.host = &endpoint.host;
                        passfile::look_up(&path, &wanted)
                    }
                    found => found,
                }
            })
            .collect();
    }

    /// A URL without password, which connects to the same place.
    pub fn redacted(&self) -> String {
        use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
        const KEEP: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');
        const KEEP_VALUE: &AsciiSet = &KEEP.remove(b'/').remove(b',').remove(b'@').remove(b':');
        let encode = |text: &str| utf8_percent_encode(text, KEEP).to_string();
        let endpoints = &self.settings.endpoints;
        let mut query = Vec::new();
        let authority = if endpoints.iter().any(Endpoint::is_socket) {
            let join =
                |f: &dyn Fn(&Endpoint) -> String| endpoints.iter().map(f).collect::<Vec<_>>().join(",");
            query.push(("host", join(&|e| e.host.clone())));
            query.push(("port", join(&|e| e.port.to_string())));
            String::new()
        } else {
            let host =
                |e: &Endpoint| if e.host.contains(':') { format!("[{}]", e.host) } else { encode(&e.host) };
            endpoints.iter().map(|e| format!("{}:{}", host(e), e.port)).collect::<Vec<_>>().join(",")
        };
        for keyword in ["sslmode", "sslrootcert", "target_session_attrs"] {
            query.extend(self.parameters.get(keyword).map(|value| (keyword, value.clone())));
        }
        let query: Vec<String> =
            query.iter().map(|(k, v)| format!("{k}={}", utf8_percent_encode(v, KEEP_VALUE))).collect();
        let mark = if query.is_empty() { "" } else { "?" };
        format!(
            "postgresql://{}@{authority}/{}{mark}{}",
            encode(self.user()),
            encode(self.database()),
            query.join("&")
        )
    }

    /// Everything that a libpq program such as pg_dump needs to connect to the same place in the same way, as environment
    /// variables, so that nothing stands on a command line. `client_encoding` is left out, as it is for our own sessions: the
    /// text is UTF-8 whatever the user's terminal speaks. The caller first removes `child_environment_removed` from
    /// what the child inherits. Keepalives have no variable and are left out.
    pub fn child_environment(&self) -> Vec<(String, OsString)> {
        const OWN: &[&str] = &[
            "host",
            "hostaddr",
            "port",
            "user",
            "dbname",
            "sslmode",
            "sslrootcert",
            "sslcert",
            "sslkey",
            "sslcrl",
            "passfile",
            "application_name",
            "servicefile",
            "client_encoding",
        ];
        let mut variables: Vec<(String, OsString)> = (self.parameters.iter())
            .filter(|(keyword, _)| !OWN.contains(keyword))
            .filter_map(|(keyword, value)| Some((parameters::variable_of(keyword)?.to_owned(), value.into())))
            .collect();
        let settings = &self.settings;
        let mut set = |name: &str, value: OsString| variables.push((name.to_owned(), value));
        let join = |f: &dyn Fn(&Endpoint) -> String| {
            OsString::from(settings.endpoints.iter().map(f).collect::<Vec<_>>().join(","))
        };
        set("PGHOST", join(&|e| e.host.clone()));
        set("PGPORT", join(&|e| e.port.to_string()));
        if settings.endpoints.iter().any(|e| e.address.is_some()) {
            set("PGHOSTADDR", join(&|e| e.address.map(|a| a.to_string()).unwrap_or_default()));
        }
        set("PGUSER", settings.user.clone().into());
        set("PGDATABASE", settings.database.clone().into());
        if settings.endpoints.len() == 1 {
            if let Some(password) = self.password_for(0) {
                set("PGPASSWORD", password.expose().into());
            }
        } else if let Some(password) = &self.given_password {
            set("PGPASSWORD", password.expose().into());
        }
        if let Some(path) = &settings.passfile {
            set("PGPASSFILE", path.into());
        }
        let tls = &settings.tls;
        set("PGSSLMODE", tls.mode.word().into());
        let roots = match &tls.roots {
            RootCertificates::File(path) => Some(path.clone()),
            // libpq knows "system" since 16; a file is understood by all.
            RootCertificates::System => Some(system_bundle().unwrap_or_else(|| PathBuf::from("system"))),
            RootCertificates::Missing(path) => path.clone(),
        };
        let files = [
            ("PGSSLROOTCERT", &roots),
            ("PGSSLCERT", &tls.certificate),
            ("PGSSLKEY", &tls.key),
            ("PGSSLCRL", &tls.revocation_file),
        ];
        for (name, path) in files {
            if let Some(path) = path.as_ref().filter(|_| tls.mode != SslMode::Disable) {
                set(name, path.into());
            }
        }
        variables
    }

    /// Names of variables to remove from what a child inherits, before `child_environment` is added.
    pub fn child_environment_removed(&self) -> Vec<String> {
        parameters::all_variables().map(str::to_owned).collect()
    }
}

/// The system's certificates as one file, at the places of the usual systems.
fn system_bundle() -> Option<PathBuf> {
    let usual = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
        "/etc/ssl/cert.pem",
    ];
    usual.into_iter().map(PathBuf::from).find(|path| path.is_file())
}

impl fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectOptions({})", self.redacted())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(vars: &[(&str, &str)], home: Option<&Path>) -> Environment {
        Environment {
            vars: vars.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
            home: home.map(Path::to_owned),
            user: Some("me".into()),
        }
    }

    fn resolve(conninfo: &str, vars: &[(&str, &str)]) -> ConnectOptions {
        ConnectOptions::resolve(conninfo, &environment(vars, None)).unwrap()
    }

    fn child(options: &ConnectOptions, name: &str) -> Option<String> {
        let found: Vec<_> = options.child_environment().into_iter().filter(|(n, _)| n == name).collect();
        assert!(found.len() < 2, "{name} twice");
        found.into_iter().next().map(|(_, v)| v.into_string().unwrap())
    }

    #[test]
    fn given_comes_before_service_before_environment_before_defaults() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join(".pg_service.conf"), "[s]\nhost=service\nport=1\ndbname=service\n")
            .unwrap();
        let vars = [
            ("PGHOST", "env"),
            ("PGPORT", "2"),
            ("PGDATABASE", "env"),
            ("PGUSER", "env"),
            ("PGSERVICE", "s"),
        ];
        let options = ConnectOptions::resolve("host=given", &environment(&vars, Some(home.path()))).unwrap();
        assert_eq!(
            (options.host(), options.port(), options.database(), options.user()),
            ("given", 1, "service", "env")
        );
        let options = resolve("", &[]);
        assert_eq!((options.port(), options.database(), options.user()), (5432, "me", "me"));
        assert!(options.host().starts_with('/'));
        assert!(!resolve("host=h dbname=d", &[("PGPASSWORD", "")]).has_password());
    }

    #[test]
    fn wrong_values_are_errors_that_say_what_is_right() {
        for (conninfo, message) in [
            ("host=h sslmode=on", "\"on\" is not a value of sslmode"),
            ("host=h port=0", "\"0\" is not a port"),
            ("host=h port=70000", "\"70000\" is not a port"),
            ("host=a,b port=1,2,3", "2 hosts but 3 ports"),
            ("host=a,b hostaddr=1.2.3.4", "2 hosts but 1 hostaddr values"),
            ("hostaddr=nowhere", "hostaddr \"nowhere\" is not an address"),
            ("host=h connect_timeout=soon", "\"soon\" is not a number: connect_timeout"),
            (
                "host=h sslmode=require sslrootcert=system",
                "sslmode=require is too weak for sslrootcert=system",
            ),
            ("host=h gssencmode=require", "gssencmode=require is not supported"),
            ("host=h sslpassword=x", "the parameter sslpassword is not supported"),
            ("host=h ssl_max_protocol_version=TLSv1.1", "no version of TLS is left that this program speaks"),
            ("host=h require_auth=md5,!password", "\"!password\" is not a value of require_auth"),
            ("service=none", "there is no service \"none\" in the service files"),
        ] {
            let error = ConnectOptions::resolve(conninfo, &environment(&[], None)).unwrap_err();
            assert_eq!(error.to_string(), message, "{conninfo}");
        }
    }

    #[test]
    fn no_password_is_shown_and_the_url_leads_to_the_same_place() {
        for (conninfo, expect) in [
            ("postgresql://u:hunter2@h/d", "postgresql://u@h:5432/d"),
            (
                "host=/run/pg user='a b' password=hunter2 dbname=d port=6",
                "postgresql://a%20b@/d?host=/run/pg&port=6",
            ),
            ("host=::1,b port=1,2 dbname=d sslmode=require", "postgresql://me@[::1]:1,b:2/d?sslmode=require"),
        ] {
            let options = resolve(conninfo, &[("PGPASSWORD", "hunter2")]);
            assert_eq!(options.redacted(), expect);
            assert!(!format!("{options:?}").contains("hunter2"));
            let again = resolve(&options.redacted(), &[]);
            assert_eq!(again.settings.endpoints, options.settings.endpoints);
            assert_eq!((again.user(), again.database()), (options.user(), options.database()));
        }
    }

    #[test]
    fn a_child_gets_everything_resolved_and_nothing_twice() {
        let vars = [
            ("PGSSLMODE", "verify-full"),
            ("PGSSLROOTCERT", "/ca.pem"),
            ("PGCLIENTENCODING", "LATIN1"),
            ("PGOPTIONS", "-c x=y"),
        ];
        let options =
            resolve("host=a,b user=u password=hunter2 connect_timeout=7", &vars).with_database("other");
        for (name, expect) in [
            ("PGHOST", Some("a,b")),
            ("PGPORT", Some("5432,5432")),
            ("PGUSER", Some("u")),
            ("PGDATABASE", Some("other")),
            ("PGPASSWORD", Some("hunter2")),
            ("PGSSLMODE", Some("verify-full")),
            ("PGSSLROOTCERT", Some("/ca.pem")),
            ("PGCONNECT_TIMEOUT", Some("7")),
            ("PGOPTIONS", Some("-c x=y")),
            ("PGCLIENTENCODING", None),
            ("PGSERVICE", None),
        ] {
            assert_eq!(child(&options, name).as_deref(), expect, "{name}");
        }
        let removed = options.child_environment_removed();
        assert!(
            ["PGSERVICE", "PGCLIENTENCODING", "PGHOSTADDR", "PGREQUIRESSL"]
                .iter()
                .all(|n| removed.contains(&(*n).to_owned()))
        );
    }

    #[test]
    fn the_password_file_is_asked_for_each_host_and_again_for_another_database() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join(".pgpass");
        std::fs::write(
            &file,
            "a:*:d:me:for a\nb:*:*:*:for b\n*:*:other:*:for other\nlocalhost:*:*:*:local\n",
        )
        .unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let env = environment(&[], Some(home.path()));
        let password = |options: &ConnectOptions, i| options.password_for(i).map(|p| p.expose().to_owned());
        let options = ConnectOptions::resolve("host=a,b,c dbname=d", &env).unwrap();
        assert_eq!(
            (0..3).map(|i| password(&options, i)).collect::<Vec<_>>(),
            [Some("for a".into()), Some("for b".into()), None]
        );
        assert_eq!(password(&options.with_database("other"), 0).as_deref(), Some("for other"));
        assert_eq!(password(&options.clone().with_password("given".into()), 2).as_deref(), Some("given"));
        for default in ["host=/tmp dbname=d", "host='' dbname=d"] {
            assert_eq!(
                password(&ConnectOptions::resolve(default, &env).unwrap(), 0).as_deref(),
                Some("local")
            );
        }
    }
}
