//! TLS as libpq's `sslmode` asks for it, with rustls and its ring provider, never a process-wide default.

mod certificate;
mod files;
mod verifier;

use crate::conninfo::{CertificateMode, Endpoint, RootCertificates, Settings, SslMode};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, SignatureScheme};
use sha2::Digest as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use verifier::{Check, Verifier};

/// The protocol's name in ALPN.
const ALPN: &[u8] = b"postgresql";

/// Everything for one handshake. Errors are reasons for people.
pub(crate) struct Connector {
    config: Arc<ClientConfig>,
    server_name: ServerName<'static>,
    direct: bool,
    client_certificate: Arc<ClientCertificate>,
    certificate_must_be_asked_for: bool,
}

impl Connector {
    pub(crate) fn new(settings: &Settings, endpoint: &Endpoint) -> Result<Self, String> {
        let tls = &settings.tls;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions: Vec<_> = [(tls.tls12, &rustls::version::TLS12), (tls.tls13, &rustls::version::TLS13)]
            .into_iter()
            .filter_map(|(wanted, version)| wanted.then_some(version))
            .collect();
        let (check, roots) = match (tls.mode, &tls.roots) {
            (SslMode::VerifyFull, RootCertificates::System) => (Check::ChainAndName, files::system_roots()?),
            (SslMode::VerifyFull, RootCertificates::File(path)) => (Check::ChainAndName, files::roots(path)?),
            // As libpq: with a root certificate at hand it is used, whatever the mode.
            (_, RootCertificates::File(path)) if tls.mode == SslMode::VerifyCa || path.exists() => {
                (Check::Chain, files::roots(path)?)
            }
            (SslMode::VerifyCa | SslMode::VerifyFull, RootCertificates::Missing(path)) => {
                let place = path.as_ref().map(|p| format!(" at {}", p.display())).unwrap_or_default();
                return Err(format!(
                    "sslmode={} needs a root certificate, and there is none{place}",
                    tls.mode.word()
                ));
            }
            _ => (Check::Nothing, Vec::new()),
        };
        let revocations = match check {
            Check::Nothing => Vec::new(),
            _ => files::revocations(tls.revocation_file.as_deref(), tls.revocation_dir.as_deref())?,
        };
        let verifier = Verifier::new(check, roots, revocations, provider.clone())?;
        let key = match tls.certificate_mode {
            CertificateMode::Disable => None,
            _ => files::client_certificate(tls, &provider)?,
        };
        let client_certificate = Arc::new(ClientCertificate { key, asked_for: AtomicBool::new(false) });
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .map_err(|e| e.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(client_certificate.clone());
        config.alpn_protocols = vec![ALPN.to_vec()];
        config.enable_sni = tls.server_name_indication;
        config.resumption = Resumption::disabled();
        Ok(Self {
            config: Arc::new(config),
            server_name: server_name(endpoint, check)?,
            direct: tls.direct,
            client_certificate,
            certificate_must_be_asked_for: tls.certificate_mode == CertificateMode::Require,
        })
    }

    pub(crate) async fn connect(
        &self,
        stream: BufReader<TcpStream>,
    ) -> Result<TlsStream<BufReader<TcpStream>>, String> {
        let connector = TlsConnector::from(self.config.clone());
        let stream = connector
            .connect(self.server_name.clone(), stream)
            .await
            .map_err(|e| reason(&e).unwrap_or_else(|| format!("the handshake failed: {e}")))?;
        if self.direct && stream.get_ref().1.alpn_protocol() != Some(ALPN) {
            return Err("the server does not support sslnegotiation=direct".into());
        }
        if self.certificate_must_be_asked_for && !self.client_certificate.asked_for.load(Ordering::Relaxed) {
            return Err("sslcertmode=require, but the server did not ask for a client certificate".into());
        }
        Ok(stream)
    }
}

/// Not every host is a name that a certificate can hold; without a check of the name any will do.
fn server_name(endpoint: &Endpoint, check: Check) -> Result<ServerName<'static>, String> {
    match ServerName::try_from(endpoint.host.trim_end_matches('.').to_owned()) {
        Ok(name) => Ok(name),
        Err(_) if check == Check::ChainAndName => {
            Err(format!("\"{}\" is not a host name that a certificate can be checked for", endpoint.host))
        }
        Err(_) => Ok(ServerName::IpAddress(IpAddr::from(Ipv4Addr::UNSPECIFIED).into())),
    }
}

/// Our certificate, and whether the server wanted to see it.
#[derive(Debug)]
struct ClientCertificate {
    key: Option<Arc<CertifiedKey>>,
    asked_for: AtomicBool,
}

impl ResolvesClientCert for ClientCertificate {
    fn resolve(&self, _issuers: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked_for.store(true, Ordering::Relaxed);
        self.key.clone()
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// What went wrong, when it is TLS that went wrong.
pub(crate) fn reason(error: &io::Error) -> Option<String> {
    use rustls::{AlertDescription, CertificateError, Error};
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    Some(match error {
        Error::InvalidCertificate(certificate) => match certificate {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "the server's certificate is not trusted: none of the given authorities has signed it".into()
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the server's certificate has expired".into()
            }
            CertificateError::Revoked => "the server's certificate is revoked".into(),
            CertificateError::NotValidForNameContext { expected, presented } => format!(
                "the server's certificate is not valid for {} (it is for: {})",
                expected.to_str(),
                presented.join(", ")
            ),
            CertificateError::NotValidForName => "the server's certificate is not valid for this host".into(),
            // webpki's word for a certificate that signed itself and is not in the root file.
            CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
                "the server's certificate is not trusted: it is self-signed".into()
            }
            other => format!("the server's certificate: {other}"),
        },
        Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired => "the server requires a client certificate".into(),
            AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::DecryptError => {
                format!("the server refused the client certificate ({alert:?})")
            }
            other => format!("the server ended the handshake ({other:?})"),
        },
        other => other.to_string(),
    })
}

/// The `tls-server-end-point` channel binding (RFC 5929, section 4.1): the certificate's hash, by the hash function of
/// its signature, MD5 and SHA-1 replaced by SHA-256. `None` where that is undefined (Ed25519).
pub(crate) fn server_end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    use certificate::Hash;
    Some(match certificate::Certificate::parse(certificate)?.signature_hash()? {
        Hash::Sha224 => sha2::Sha224::digest(certificate).to_vec(),
        Hash::Sha256 => sha2::Sha256::digest(certificate).to_vec(),
        Hash::Sha384 => sha2::Sha384::digest(certificate).to_vec(),
        Hash::Sha512 => sha2::Sha512::digest(certificate).to_vec(),
    })
}
