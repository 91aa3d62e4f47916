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
    /// variables, so that nothing stands on a command line. The caller first removes `child_environment_removed` from
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
