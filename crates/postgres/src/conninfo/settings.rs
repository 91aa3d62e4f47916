//! The parameters as typed values, with libpq's defaults.

use super::ConninfoError;
use super::parameters::Parameters;
use crate::environment::Environment;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// One server to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// A name, an address, a socket directory (starts with `/`) or an abstract socket (starts with `@`).
    pub(crate) host: String,
    /// The address to connect to, instead of looking `host` up.
    pub(crate) address: Option<IpAddr>,
    pub(crate) port: u16,
}

impl Endpoint {
    pub(crate) fn is_socket(&self) -> bool {
        self.address.is_none() && self.host.starts_with(['/', '@'])
    }

    /// For messages.
    pub(crate) fn describe(&self) -> String {
        if self.is_socket() {
            format!("{}/.s.PGSQL.{}", self.host.trim_end_matches('/'), self.port)
        } else if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// An enum whose variants are the words of a parameter.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $keyword:literal, $($word:literal => $variant:ident),+ $(,)?) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum $name { $($variant),+ }

        impl $name {
            fn read(parameters: &Parameters, default: Self) -> Result<Self, ConninfoError> {
                match parameters.get($keyword).map(String::as_str) {
                    None | Some("") => Ok(default),
                    $(Some($word) => Ok(Self::$variant),)+
                    Some(other) => Err(not_one_of($keyword, other, &[$($word),+])),
                }
            }

            /// The parameter's word.
            #[allow(dead_code, reason = "not every parameter is shown")]
            pub(crate) fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
    };
}

words!(SslMode, "sslmode", "disable" => Disable, "allow" => Allow, "prefer" => Prefer, "require" => Require,
    "verify-ca" => VerifyCa, "verify-full" => VerifyFull);
words!(SslNegotiation, "sslnegotiation", "postgres" => Postgres, "direct" => Direct);
words!(ChannelBinding, "channel_binding", "disable" => Disable, "prefer" => Prefer, "require" => Require);
words!(CertificateMode, "sslcertmode", "disable" => Disable, "allow" => Allow, "require" => Require);
words!(TargetSession, "target_session_attrs", "any" => Any, "read-write" => ReadWrite, "read-only" => ReadOnly,
    "primary" => Primary, "standby" => Standby, "prefer-standby" => PreferStandby);
words!(GssEncryption, "gssencmode", "disable" => Disable, "prefer" => Prefer, "require" => Require);
words!(LoadBalance, "load_balance_hosts", "disable" => Disable, "random" => Random);

fn not_one_of(keyword: &str, value: &str, words: &[&str]) -> ConninfoError {
    ConninfoError::new(format!("\"{value}\" is not a value of {keyword}"))
        .hint(format!("one of: {}", words.join(", ")))
}

/// Which certificates are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RootCertificates {
    System,
    File(PathBuf),
    /// The default file, which is not there; its path for the message.
    Missing(Option<PathBuf>),
}

/// How TLS is set up.
#[derive(Clone, Debug)]
pub(crate) struct TlsSettings {
    pub(crate) mode: SslMode,
    /// TLS from the first byte, without a question before.
    pub(crate) direct: bool,
    pub(crate) roots: RootCertificates,
    pub(crate) certificate_mode: CertificateMode,
    /// The client's certificate and key: given ones must exist, default ones need not.
    pub(crate) certificate: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) certificate_given: bool,
    pub(crate) revocation_file: Option<PathBuf>,
    pub(crate) revocation_dir: Option<PathBuf>,
    pub(crate) server_name_indication: bool,
    pub(crate) tls12: bool,
    pub(crate) tls13: bool,
}

/// Ways of authentication that `require_auth` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Password,
    Md5,
    ScramSha256,
    /// The server asks for nothing (trust, peer, certificate).
    None,
    /// gss, sspi, oauth: known, not spoken.
    Other,
}

/// `require_auth`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequireAuth {
    methods: Vec<Method>,
    negated: bool,
}

impl RequireAuth {
    pub(crate) fn allows(&self, method: Method) -> bool {
        self.methods.contains(&method) != self.negated
    }
}

/// TCP keepalives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Keepalives {
    pub(crate) off: bool,
    pub(crate) idle: Option<Duration>,
    pub(crate) interval: Option<Duration>,
    pub(crate) count: Option<u32>,
    pub(crate) user_timeout: Option<Duration>,
}

/// All parameters, typed.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) user: String,
    pub(crate) database: String,
    pub(crate) tls: TlsSettings,
    pub(crate) channel_binding: ChannelBinding,
    pub(crate) require_auth: Option<RequireAuth>,
    /// For one address. `None` waits as long as the system does.
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) keepalives: Keepalives,
    pub(crate) target_session: TargetSession,
    pub(crate) random_order: bool,
    /// `options` of the startup message.
    pub(crate) options: Option<String>,
    pub(crate) application_name: Option<String>,
    /// The operating system's user that the server of a Unix socket must run as.
    pub(crate) require_peer: Option<String>,
    pub(crate) passfile: Option<PathBuf>,
}

/// What a server that never answers costs when the user says nothing; libpq would wait for ever.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

impl Settings {
    pub(super) fn read(parameters: &Parameters, env: &Environment) -> Result<Self, ConninfoError> {
        let text = |keyword: &str| parameters.get(keyword).filter(|v| !v.is_empty()).cloned();
        let in_home = |path: &str| env.home.as_ref().map(|home| home.join(path));
        let user = text("user").or_else(|| env.user.clone()).ok_or_else(|| {
            ConninfoError::new("no user name is given and the system knows none")
                .hint("give user=… or PGUSER")
        })?;
        if GssEncryption::read(parameters, GssEncryption::Disable)? == GssEncryption::Require {
            return Err(
                ConninfoError::new("gssencmode=require is not supported").hint("use TLS: sslmode=require")
            );
        }
        for unsupported in ["sslpassword", "replication"] {
            if text(unsupported).is_some_and(|v| !matches!(v.as_str(), "false" | "off" | "no" | "0")) {
                return Err(ConninfoError::new(format!("the parameter {unsupported} is not supported")));
            }
        }
        Ok(Self {
            endpoints: endpoints(parameters)?,
            database: text("dbname").unwrap_or_else(|| user.clone()),
            user,
            tls: TlsSettings::read(parameters, env)?,
            channel_binding: ChannelBinding::read(parameters, ChannelBinding::Prefer)?,
            require_auth: text("require_auth").map(|v| require_auth(&v)).transpose()?,
            connect_timeout: match integer(parameters, "connect_timeout")? {
                None => Some(CONNECT_TIMEOUT),
                Some(seconds) => positive(seconds).map(Duration::from_secs),
            },
            keepalives: Keepalives {
                off: integer(parameters, "keepalives")? == Some(0),
                idle: integer(parameters, "keepalives_idle")?.and_then(positive).map(Duration::from_secs),
                interval: integer(parameters, "keepalives_interval")?
                    .and_then(positive)
                    .map(Duration::from_secs),
                count: integer(parameters, "keepalives_count")?
                    .and_then(|n| u32::try_from(n).ok())
                    .filter(|n| *n > 0),
                user_timeout: integer(parameters, "tcp_user_timeout")?
                    .and_then(positive)
                    .map(Duration::from_millis),
            },
            target_session: TargetSession::read(parameters, TargetSession::Any)?,
            random_order: LoadBalance::read(parameters, LoadBalance::Disable)? == LoadBalance::Random,
            options: text("options"),
            application_name: text("application_name"),
            require_peer: text("requirepeer"),
            passfile: text("passfile").map(PathBuf::from).or_else(|| in_home(".pgpass")),
        })
    }
}

fn integer(parameters: &Parameters, keyword: &str) -> Result<Option<i64>, ConninfoError> {
    let Some(text) = parameters.get(keyword).map(|v| v.trim()).filter(|v| !v.is_empty()) else {
        return Ok(None);
    };
    match text.parse::<i32>() {
        Ok(number) => Ok(Some(number.into())),
        Err(_) => Err(ConninfoError::new(format!("\"{text}\" is not a number: {keyword}"))),
    }
}

fn positive(number: i64) -> Option<u64> {
    u64::try_from(number).ok().filter(|n| *n > 0)
}

fn require_auth(text: &str) -> Result<RequireAuth, ConninfoError> {
    let words: Vec<&str> = text.split(',').map(str::trim).collect();
    let negated = words.iter().all(|w| w.starts_with('!'));
    let methods = words
        .iter()
        .map(|word| match if negated { &word[1..] } else { word } {
            "password" => Ok(Method::Password),
            "md5" => Ok(Method::Md5),
            "scram-sha-256" => Ok(Method::ScramSha256),
            "none" => Ok(Method::None),
            "gss" | "sspi" | "oauth" => Ok(Method::Other),
            other => Err(not_one_of(
                "require_auth",
                other,
                &["password", "md5", "scram-sha-256", "none", "gss", "sspi"],
            )
            .hint("either all methods are negated with \"!\" or none")),
        })
        .collect::<Result<_, _>>()?;
    Ok(RequireAuth { methods, negated })
}

fn endpoints(parameters: &Parameters) -> Result<Vec<Endpoint>, ConninfoError> {
    let list = |keyword: &str| -> Vec<String> {
        let text = parameters.get(keyword).map_or("", String::as_str);
        text.split(',').map(|v| v.trim().to_owned()).collect()
    };
    let given = |keyword: &str| parameters.get(keyword).is_some_and(|v| !v.is_empty());
    let (hosts, addresses, ports) = (list("host"), list("hostaddr"), list("port"));
    let count = if given("hostaddr") { addresses.len() } else { hosts.len() };
    if given("hostaddr") && given("host") && hosts.len() != addresses.len() {
        return Err(ConninfoError::new(format!(
            "{} hosts but {} hostaddr values",
            hosts.len(),
            addresses.len()
        )));
    }
    if ports.len() != 1 && ports.len() != count {
        return Err(ConninfoError::new(format!("{count} hosts but {} ports", ports.len())));
    }
    let mut endpoints = Vec::with_capacity(count);
    for i in 0..count {
        let port = match ports.get(i).or(ports.first()).map_or("", String::as_str) {
            "" => 5432,
            text => text.parse().ok().filter(|p| *p > 0).ok_or_else(|| {
                ConninfoError::new(format!("\"{text}\" is not a port"))
                    .hint("ports are numbers from 1 to 65535")
            })?,
        };
        let address: Option<IpAddr> = match addresses.get(i).map_or("", String::as_str) {
            "" => None,
            text => Some(
                text.parse()
                    .map_err(|_| ConninfoError::new(format!("hostaddr \"{text}\" is not an address")))?,
            ),
        };
        let host = match (hosts.get(i).map_or("", String::as_str), address) {
            ("", Some(address)) => address.to_string(),
            ("", None) => default_socket_directory(port),
            (host, _) => host.to_owned(),
        };
        endpoints.push(Endpoint { host, address, port });
    }
    Ok(endpoints)
}

/// Debian and most packages compile `/var/run/postgresql` in, PostgreSQL's own default is `/tmp`. The one that has the
/// port's socket wins; without either, the one that exists.
fn default_socket_directory(port: u16) -> String {
    let candidates = ["/var/run/postgresql", "/tmp"];
    let with_socket =
        candidates.iter().find(|dir| std::path::Path::new(dir).join(format!(".s.PGSQL.{port}")).exists());
    let existing = || candidates.iter().find(|dir| std::path::Path::new(dir).is_dir());
    (*with_socket.or_else(existing).unwrap_or(&"/tmp")).to_owned()
}

impl TlsSettings {
    fn read(parameters: &Parameters, env: &Environment) -> Result<Self, ConninfoError> {
        let path = |keyword: &str| parameters.get(keyword).filter(|v| !v.is_empty()).map(PathBuf::from);
        let default = |name: &str| env.home.as_ref().map(|home| home.join(".postgresql").join(name));
        let existing = |name: &str| default(name).filter(|p| p.exists());
        let system = path("sslrootcert").is_some_and(|p| p.as_os_str() == "system");
        let default_mode = if system { SslMode::VerifyFull } else { SslMode::Prefer };
        let mode = SslMode::read(parameters, default_mode)?;
        if system && mode != SslMode::VerifyFull {
            return Err(ConninfoError::new(format!(
                "sslmode={} is too weak for sslrootcert=system",
                mode.word()
            ))
            .hint("use sslmode=verify-full"));
        }
        let direct = SslNegotiation::read(parameters, SslNegotiation::Postgres)? == SslNegotiation::Direct;
        if direct && mode < SslMode::Require {
            return Err(ConninfoError::new(format!(
                "sslmode={} is too weak for sslnegotiation=direct",
                mode.word()
            ))
            .hint("use sslmode=require, verify-ca or verify-full"));
        }
        let roots = match path("sslrootcert") {
            Some(_) if system => RootCertificates::System,
            Some(file) => RootCertificates::File(file),
            None => existing("root.crt")
                .map_or_else(|| RootCertificates::Missing(default("root.crt")), RootCertificates::File),
        };
        let (tls12, tls13) = versions(parameters)?;
        Ok(Self {
            mode,
            direct,
            roots,
            certificate_mode: CertificateMode::read(parameters, CertificateMode::Allow)?,
            certificate_given: path("sslcert").is_some(),
            certificate: path("sslcert").or_else(|| existing("postgresql.crt")),
            key: path("sslkey").or_else(|| default("postgresql.key")),
            revocation_file: path("sslcrl").or_else(|| existing("root.crl")),
            revocation_dir: path("sslcrldir"),
            server_name_indication: integer(parameters, "sslsni")? != Some(0),
            tls12,
            tls13,
        })
    }
}

fn versions(parameters: &Parameters) -> Result<(bool, bool), ConninfoError> {
    let read = |keyword: &'static str| -> Result<Option<u8>, ConninfoError> {
        match parameters.get(keyword).map_or("", String::as_str) {
            "" => Ok(None),
            text => match text.to_ascii_lowercase().as_str() {
                "tlsv1" => Ok(Some(0)),
                "tlsv1.1" => Ok(Some(1)),
                "tlsv1.2" => Ok(Some(2)),
                "tlsv1.3" => Ok(Some(3)),
                _ => Err(not_one_of(keyword, text, &["TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"])),
            },
        }
    };
    let (least, most) =
        (read("ssl_min_protocol_version")?.unwrap_or(2), read("ssl_max_protocol_version")?.unwrap_or(3));
    if most < 2 || least > most {
        return Err(ConninfoError::new("no version of TLS is left that this program speaks")
            .hint("allow TLSv1.2 or TLSv1.3 in ssl_min_protocol_version and ssl_max_protocol_version"));
    }
    Ok((least <= 2, most >= 3))
}
