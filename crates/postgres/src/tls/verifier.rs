//! Whether the server's certificate is accepted.
//!
//! webpki checks chains. Two things that libpq accepts and webpki does not are added, because servers that follow the
//! PostgreSQL manual need them: a certificate that is itself in the root file (self-signed, so marked as an authority),
//! and a host name that stands only in the subject's common name.

use super::certificate::Certificate;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{self, CryptoProvider};
use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::sync::Arc;

/// What is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// Only that the server has the key of the certificate that it shows.
    Nothing,
    /// That a trusted authority signed it.
    Chain,
    /// And that it is for this host.
    ChainAndName,
}

#[derive(Debug)]
pub(super) struct Verifier {
    check: Check,
    roots: Vec<CertificateDer<'static>>,
    chain: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    pub(super) fn new(
        check: Check,
        roots: Vec<CertificateDer<'static>>,
        revocations: Vec<CertificateRevocationListDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(roots.iter().cloned());
        let chain = match store.is_empty() {
            true => None,
            false => Some(
                WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider.clone())
                    .with_crls(revocations)
                    .build()
                    .map_err(|e| format!("the root certificate or revocation list cannot be used: {e}"))?,
            ),
        };
        Ok(Self { check, roots, chain, provider })
    }

    fn check_chain(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        if self.roots.iter().any(|root| root.as_ref() == certificate.as_ref()) {
            return check_dates(certificate, now);
        }
        let Some(chain) = &self.chain else { return Err(CertificateError::UnknownIssuer.into()) };
        match chain.verify_server_cert(certificate, intermediates, name, &[], now) {
            // The chain is checked before the name, so that this error says that the chain is good.
            Ok(_)
            | Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(()),
            Err(e) => Err(e),
        }
    }
}

fn check_dates(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let (from, until) = Certificate::parse(certificate)
        .and_then(|c| c.validity())
        .ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now > until {
        return Err(CertificateError::Expired.into());
    }
    if now < from {
        return Err(CertificateError::NotValidYet.into());
    }
    Ok(())
}

fn check_name(certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> Result<(), Error> {
    let parsed =
        Certificate::parse(certificate).ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
    if parsed.has_alternative_names() {
        return rustls::client::verify_server_name(&ParsedCertificate::try_from(certificate)?, name);
    }
    match parsed.common_name() {
        Some(common) if name_matches(&common, &name.to_str()) => Ok(()),
        common => Err(CertificateError::NotValidForNameContext {
            expected: name.to_owned(),
            presented: common.into_iter().collect(),
        }
        .into()),
    }
}

/// `*` stands for the whole first label and for nothing else.
fn name_matches(pattern: &str, host: &str) -> bool {
    let is_address = host.parse::<std::net::IpAddr>().is_ok();
    match (pattern.strip_prefix("*."), host.split_once('.')) {
        (Some(rest), Some((label, domain))) => {
            !is_address && !label.is_empty() && rest.contains('.') && rest.eq_ignore_ascii_case(domain)
        }
        _ => pattern.eq_ignore_ascii_case(host),
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.check != Check::Nothing {
            self.check_chain(end_entity, intermediates, server_name, now)?;
        }
        if self.check == Check::ChainAndName {
            check_name(end_entity, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    // The signature is checked in every mode: channel binding relies on the server having the certificate's key.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        crypto::verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        // The key alone, because webpki does not read certificates of X.509 version 1, which old tools make.
        match Certificate::parse(cert) {
            Some(parsed) => {
                let key = SubjectPublicKeyInfoDer::from(parsed.public_key);
                crypto::verify_tls13_signature_with_raw_key(message, &key, dss, algorithms)
            }
            None => crypto::verify_tls13_signature(message, cert, dss, algorithms),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_one_label() {
        for (pattern, host, expect) in [
            ("db.example.org", "DB.example.org", true),
            ("*.example.org", "db.example.org", true),
            ("*.example.org", "a.b.example.org", false),
            ("*.example.org", "example.org", false),
            ("*.org", "example.org", false),
            ("*", "example", false),
            ("d*.example.org", "db.example.org", false),
            ("10.0.0.1", "10.0.0.1", true),
            ("*.0.0.1", "10.0.0.1", false),
        ] {
            assert_eq!(name_matches(pattern, host), expect, "{pattern} {host}");
        }
    }
}
