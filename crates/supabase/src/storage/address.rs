//! Where a project's files are, and with what they are opened.

use basekeep_postgres::{ConnectOptions, Secret};

/// A service that has files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Scheme, host and path, no slash at the end: `https://<ref>.supabase.co/storage/v1`, or the same with `/s3`.
    pub url: String,
    /// What opens it.
    pub credentials: Credentials,
}

/// A key, and with it the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// The Storage API with the key of the service role (or a secret key).
    ServiceKey(Secret),
    /// The S3 protocol.
    AccessKey {
        /// The region that requests are signed for.
        region: String,
        /// The access key's id.
        id: String,
        /// Its secret.
        secret: Secret,
    },
}

impl Address {
    /// The Storage API.
    pub fn api(url: &str, key: Secret) -> Self {
        Self { url: trimmed(url), credentials: Credentials::ServiceKey(key) }
    }

    /// An S3 endpoint; buckets stand in its path.
    pub fn s3(url: &str, region: &str, id: &str, secret: Secret) -> Self {
        let credentials = Credentials::AccessKey { region: region.to_owned(), id: id.to_owned(), secret };
        Self { url: trimmed(url), credentials }
    }
}

fn trimmed(url: &str) -> String {
    url.trim().trim_end_matches('/').to_owned()
}

/// The Storage API of the project whose database this is: hosted ones, directly or through the pooler, and the local stack.
pub fn service_url(database: &ConnectOptions) -> Option<String> {
    service_url_of(database.host(), database.port(), database.user())
}

fn service_url_of(host: &str, port: u16, user: &str) -> Option<String> {
    let is_reference = |text: &str| text.len() == 20 && text.bytes().all(|b| b.is_ascii_lowercase());
    let hosted = |reference: &str| format!("https://{reference}.supabase.co/storage/v1");
    if let Some(reference) = host.strip_prefix("db.").and_then(|rest| rest.strip_suffix(".supabase.co")) {
        return is_reference(reference).then(|| hosted(reference));
    }
    if host.ends_with(".pooler.supabase.com") {
        let reference = user.rsplit_once('.').map(|(_, reference)| reference)?;
        return is_reference(reference).then(|| hosted(reference));
    }
    let local = matches!(host, "127.0.0.1" | "localhost" | "::1");
    (local && port == 54322).then(|| "http://127.0.0.1:54321/storage/v1".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_services_url_follows_from_the_databases_address() {
        let hosted = Some("https://abcdefghijklmnopqrst.supabase.co/storage/v1".to_owned());
        assert_eq!(service_url_of("db.abcdefghijklmnopqrst.supabase.co", 5432, "postgres"), hosted);
        let pooler = "aws-0-eu-central-1.pooler.supabase.com";
        assert_eq!(service_url_of(pooler, 5432, "postgres.abcdefghijklmnopqrst"), hosted);
        let local = Some("http://127.0.0.1:54321/storage/v1".to_owned());
        assert_eq!(service_url_of("127.0.0.1", 54322, "postgres"), local);
        assert_eq!(service_url_of("127.0.0.1", 5432, "postgres"), None);
        assert_eq!(service_url_of("db.example.com", 5432, "postgres"), None);
        assert_eq!(service_url_of(pooler, 5432, "postgres"), None);
    }

    #[test]
    fn keys_are_not_printed() {
        let one = Address::api("http://h/storage/v1/", "hunter2".into());
        let two = Address::s3("http://h/storage/v1/s3", "local", "id", "hunter2".into());
        assert!(!format!("{one:?} {two:?}").contains("hunter2"));
        assert_eq!(one.url, "http://h/storage/v1");
    }
}
