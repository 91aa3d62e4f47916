//! Certificates, keys and revocation lists from files.

use crate::conninfo::TlsSettings;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::path::Path;
use std::sync::Arc;

fn all<T: PemObject>(path: &Path, what: &str) -> Result<Vec<T>, String> {
    let wrong = |e: rustls::pki_types::pem::Error| format!("cannot read the {what} {}: {e}", path.display());
    T::pem_file_iter(path).map_err(wrong)?.collect::<Result<_, _>>().map_err(wrong)
}

pub(super) fn roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates = all(path, "root certificate")?;
    if certificates.is_empty() {
        return Err(format!("there is no root certificate in {}", path.display()));
    }
    Ok(certificates)
}

pub(super) fn system_roots() -> Result<Vec<CertificateDer<'static>>, String> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        let why = found.errors.first().map(|e| format!(": {e}")).unwrap_or_default();
        return Err(format!("the system has no root certificates{why}"));
    }
    Ok(found.certs)
}

pub(super) fn revocations(
    file: Option<&Path>,
    dir: Option<&Path>,
) -> Result<Vec<CertificateRevocationListDer<'static>>, String> {
    let mut lists = Vec::new();
    if let Some(file) = file {
        lists.extend(all(file, "revocation list")?);
    }
    if let Some(dir) = dir {
        let wrong = |e| format!("cannot read the revocation lists in {}: {e}", dir.display());
        for entry in std::fs::read_dir(dir).map_err(wrong)? {
            let path = entry.map_err(wrong)?.path();
            if path.is_file() {
                lists.extend(all(&path, "revocation list")?);
            }
        }
    }
    Ok(lists)
}

/// Our certificate with its chain and key. Default files that are not there mean none; given ones must be there.
pub(super) fn client_certificate(
    tls: &TlsSettings,
    provider: &CryptoProvider,
) -> Result<Option<Arc<CertifiedKey>>, String> {
    let Some(path) = tls.certificate.as_deref().filter(|p| tls.certificate_given || p.exists()) else {
        return Ok(None);
    };
    let chain: Vec<CertificateDer<'static>> = all(path, "client certificate")?;
    let key_path = tls.key.as_deref().filter(|p| p.exists()).ok_or_else(|| {
        let place = tls.key.as_ref().map(|p| format!(" at {}", p.display())).unwrap_or_default();
        format!("there is a client certificate, but no key for it{place}")
    })?;
    check_permissions(key_path)?;
    let key = PrivateKeyDer::from_pem_file(key_path).map_err(|e| {
        format!(
            "cannot read the key {}: {e} (keys that are encrypted with a password are not supported)",
            key_path.display()
        )
    })?;
    let key = CertifiedKey::from_der(chain, key, provider)
        .map_err(|e| format!("the client certificate {} and its key do not work: {e}", path.display()))?;
    Ok(Some(Arc::new(key)))
}

/// As libpq: nobody else may read the key, except a group when the file is root's.
fn check_permissions(key: &Path) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt;
    let metadata = key.metadata().map_err(|e| format!("cannot read the key {}: {e}", key.display()))?;
    let forbidden = if metadata.uid() == 0 { 0o027 } else { 0o077 };
    if metadata.mode() & forbidden != 0 {
        return Err(format!("others may read the key {0}: chmod 0600 {0}", key.display()));
    }
    Ok(())
}
