//! Under which names the dashboard is reached: what the Host and Origin headers of a request may be. A page of somebody else whose
//! name was pointed at this machine (DNS rebinding) has a name that is not among them.

use std::net::IpAddr;

use basekeep_engine::EngineError;

/// Names of the dashboard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Site {
    /// The address in the browser where a proxy stands in front, without a path: `https://backup.example.com`.
    public_url: Option<String>,
    /// Further names, without a port.
    hosts: Vec<String>,
}

impl Site {
    /// Checks the address.
    ///
    /// # Errors
    /// It is not `https://` or `http://` with a name and nothing else.
    pub fn new(public_url: Option<&str>, hosts: Vec<String>) -> Result<Self, EngineError> {
        let Some(url) = public_url else { return Ok(Self { public_url: None, hosts }) };
        let url = url.trim_end_matches('/').to_ascii_lowercase();
        let name = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")).unwrap_or_default();
        if name.is_empty() || name.contains(['/', '@', '?', '#', ' ']) {
            return Err(EngineError::usage("public_url is no address of a site")
                .hint("write it like https://backup.example.com"));
        }
        Ok(Self { public_url: Some(url), hosts })
    }

    /// Whether browsers reach it through TLS, so that cookies are for TLS alone.
    pub(crate) fn is_secure(&self) -> bool {
        self.public_url.as_deref().is_some_and(|url| url.starts_with("https://"))
    }

    /// Whether a proxy stands in front.
    pub(crate) fn has_proxy(&self) -> bool {
        self.public_url.is_some()
    }

    /// Whether a Host header names this site. Addresses cannot be pointed elsewhere, names can.
    pub(crate) fn knows_host(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let name = without_port(&host);
        let address = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        name == "localhost"
            || address.is_ok()
            || self.public_host() == Some(host.as_str())
            || self.hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    /// Whether an Origin header is this site's, for a request with this Host header.
    pub(crate) fn is_own_origin(&self, origin: &str, host: &str) -> bool {
        let origin = origin.to_ascii_lowercase();
        self.public_url.as_deref() == Some(origin.as_str())
            || origin.strip_prefix("http://") == Some(host.to_ascii_lowercase().as_str())
    }

    fn public_host(&self) -> Option<&str> {
        self.public_url.as_deref().and_then(|url| url.split_once("://")).map(|(_, host)| host)
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.chars().all(|c| c.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_names_and_addresses_are_hosts() {
        let site = Site::new(Some("https://Backup.example.com/"), vec!["basekeep".into()]).unwrap();
        for own in [
            "localhost:8432",
            "127.0.0.1:8432",
            "[::1]:8432",
            "backup.example.com",
            "basekeep:8432",
            "10.0.0.7",
        ] {
            assert!(site.knows_host(own), "{own}");
        }
        for other in [
            "evil.example",
            "localhost.evil.example:8432",
            "127.0.0.1.evil.example",
            "",
            "backup.example.com:99",
        ] {
            assert!(!site.knows_host(other), "{other}");
        }
    }

    #[test]
    fn only_the_own_origin_may_post() {
        let site = Site::new(Some("https://backup.example.com"), Vec::new()).unwrap();
        assert!(site.is_own_origin("https://backup.example.com", "backup.example.com"));
        assert!(site.is_own_origin("http://127.0.0.1:8432", "127.0.0.1:8432"));
        for other in [
            "null",
            "",
            "http://127.0.0.1:1",
            "https://evil.example",
            "http://backup.example.com.evil.example",
        ] {
            assert!(!site.is_own_origin(other, "127.0.0.1:8432"), "{other}");
        }
        assert!(site.is_secure() && !Site::default().is_secure());
    }

    #[test]
    fn an_address_with_a_path_is_refused() {
        for wrong in ["backup.example.com", "https://", "https://a/b", "ftp://a", "https://user@a"] {
            assert!(Site::new(Some(wrong), Vec::new()).is_err(), "{wrong}");
        }
    }
}
