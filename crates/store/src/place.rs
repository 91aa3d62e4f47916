//! How people write where a store is: a folder, or a bucket in one of the forms that basekeep and restic know.

use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use reqwest::Url;

use crate::StoreError;
use crate::error::unsupported;
use crate::options::StoreOptions;

const FORMS: &str = "a repository is a folder (/path, ./path, file:///path) or a bucket \
                     (s3://bucket/prefix, s3:https://host/bucket/prefix)";

/// A place, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Folder(String),
    Bucket(Box<Bucket>),
}

/// A bucket and the prefix below which the store's keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bucket {
    pub(crate) name: String,
    /// Without slashes at its ends; may be empty.
    pub(crate) prefix: String,
    /// What the URL itself says: endpoint and options of its query.
    pub(crate) options: StoreOptions,
}

/// Whether `text` is a path of the local file system, which may be relative, and not a URL.
pub fn is_folder(text: &str) -> bool {
    !text.contains("://") && !text.starts_with("s3:")
}

/// `url` without a user name and password that somebody wrote into it, for messages.
pub fn redacted(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (host, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    match host.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://…@{host}{path}"),
        None => url.to_owned(),
    }
}

impl FromStr for Place {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, StoreError> {
        if let Some(rest) = text.strip_prefix("s3:") {
            return bucket(rest).map(|bucket| Self::Bucket(Box::new(bucket)));
        }
        let folder = match text.split_once("://") {
            None => text,
            Some(("file", path)) if path.starts_with('/') => path,
            Some(("file", _)) => {
                return Err(unsupported(&format!("file:// needs an absolute path; {FORMS}")));
            }
            Some((scheme, _)) => return Err(unsupported(&format!("{scheme} is not supported; {FORMS}"))),
        };
        if folder.is_empty() {
            return Err(unsupported(&format!("the repository's folder is empty; {FORMS}")));
        }
        Ok(Self::Folder(folder.to_owned()))
    }
}

/// What follows `s3:`: `//bucket/prefix`, `https://host/bucket/prefix` or `host/bucket/prefix`, each with `?options`.
fn bucket(rest: &str) -> Result<Bucket, StoreError> {
    let (place, query) = match rest.split_once('?') {
        Some((place, query)) => (place, Some(query)),
        None => (rest, None),
    };
    let mut options = query.map_or_else(|| Ok(StoreOptions::default()), from_query)?;
    let authority = place.split_once("://").map_or(place, |(_, rest)| rest).trim_start_matches('/');
    if authority.split('/').next().is_some_and(|host| host.contains('@')) {
        return Err(unsupported("a repository's URL holds no user name and password").hint(
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile, and take them out of the URL",
        ));
    }
    let path = if let Some(path) = place.strip_prefix("//") {
        decoded(path)?
    } else {
        let url = if place.contains("://") { place.to_owned() } else { format!("https://{place}") };
        let url = Url::parse(&url).map_err(|error| unsupported(&format!("{url}: {error}; {FORMS}")))?;
        if !matches!(url.scheme(), "https" | "http") {
            return Err(unsupported(&format!("s3:{}:// is not supported; {FORMS}", url.scheme())));
        }
        options.endpoint.get_or_insert(url.origin().ascii_serialization());
        decoded(url.path())?
    };
    let path = path.trim_start_matches('/').trim_end_matches('/');
    let (name, prefix) = path.split_once('/').unwrap_or((path, ""));
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    if name.is_empty() || !plain {
        return Err(unsupported(&format!("the bucket's name is missing or odd; {FORMS}")));
    }
    if prefix.split('/').any(|part| matches!(part, "." | "..") || (part.is_empty() && !prefix.is_empty())) {
        return Err(unsupported(&format!("the prefix {prefix} has an empty part, `.` or `..`; {FORMS}")));
    }
    Ok(Bucket { name: name.to_owned(), prefix: prefix.to_owned(), options })
}

fn decoded(text: &str) -> Result<String, StoreError> {
    let text = percent_decode_str(text).decode_utf8();
    text.map(String::from).map_err(|_| unsupported("the repository's URL is not UTF-8"))
}

fn from_query(query: &str) -> Result<StoreOptions, StoreError> {
    let mut options = StoreOptions::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decoded(value)?;
        let wrong = |wanted: &str| unsupported(&format!("?{name}= takes {wanted}, not `{value}`"));
        let number = || value.parse::<u64>().map_err(|_| wrong("a number"));
        match name {
            "endpoint" => options.endpoint = Some(value),
            "region" => options.region = Some(value),
            "profile" => options.profile = Some(value),
            "path_style" => {
                options.path_style = Some(value.parse().map_err(|_| wrong("true or false"))?);
            }
            "ca_file" => options.ca_file = Some(value.into()),
            "limit_upload" => options.limit_upload = Some(number()?),
            "limit_download" => options.limit_download = Some(number()?),
            "connections" => {
                options.connections = Some(value.parse().map_err(|_| wrong("a number"))?);
            }
            "retry_seconds" => options.retry_for = Some(Duration::from_secs(number()?)),
            "stall_seconds" => options.stall_after = Some(Duration::from_secs(number()?)),
            "access_key_id" | "secret_access_key" | "session_token" | "password" => {
                return Err(unsupported(&format!(
                    "?{name}= is refused: credentials do not belong into a URL"
                ))
                .hint("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile"));
            }
            _ => {
                return Err(unsupported(&format!("?{name}= is not known")).hint(
                    "known are endpoint, region, profile, path_style, ca_file, limit_upload, limit_download, \
                     connections, retry_seconds and stall_seconds",
                ));
            }
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(text: &str) -> Bucket {
        match text.parse().unwrap() {
            Place::Bucket(bucket) => *bucket,
            Place::Folder(folder) => panic!("{folder} is a folder"),
        }
    }

    fn refused(text: &str) -> String {
        let error = text.parse::<Place>().unwrap_err();
        format!("{error} {}", error.hint.as_deref().unwrap_or_default())
    }

    #[test]
    fn folders_stay_folders() {
        for (text, folder) in
            [("/srv/a", "/srv/a"), ("file:///srv/a", "/srv/a"), ("./a", "./a"), ("s3", "s3")]
        {
            assert_eq!(text.parse::<Place>().unwrap(), Place::Folder(folder.to_owned()));
        }
        assert!(is_folder("backups") && !is_folder("s3:host/bucket") && !is_folder("s3://bucket"));
    }

    #[test]
    fn buckets_are_written_as_urls_and_as_restic_writes_them() {
        for (text, endpoint, name, prefix) in [
            ("s3://backups", None, "backups", ""),
            ("s3://backups/", None, "backups", ""),
            ("s3://backups/a/b%20c/", None, "backups", "a/b c"),
            ("s3:https://s3.example.com/backups/a", Some("https://s3.example.com"), "backups", "a"),
            ("s3:http://127.0.0.1:3900/backups", Some("http://127.0.0.1:3900"), "backups", ""),
            ("s3:s3.amazonaws.com/backups/a", Some("https://s3.amazonaws.com"), "backups", "a"),
            ("s3:localhost:9000/backups/a", Some("https://localhost:9000"), "backups", "a"),
        ] {
            let found = bucket(text);
            assert_eq!((found.name.as_str(), found.prefix.as_str()), (name, prefix), "{text}");
            assert_eq!(found.options.endpoint.as_deref(), endpoint, "{text}");
        }
    }

    #[test]
    fn the_query_holds_options() {
        let options = bucket(
            "s3://b/p?endpoint=https%3A%2F%2Fh%2Fstorage%2Fv1%2Fs3&region=eu-west-1&profile=ops&path_style=false\
             &limit_upload=1000&limit_download=2000&connections=4&retry_seconds=7&stall_seconds=9&ca_file=/etc/ca.pem",
        )
        .options;
        let expected = StoreOptions {
            endpoint: Some("https://h/storage/v1/s3".to_owned()),
            region: Some("eu-west-1".to_owned()),
            profile: Some("ops".to_owned()),
            path_style: Some(false),
            ca_file: Some("/etc/ca.pem".into()),
            limit_upload: Some(1000),
            limit_download: Some(2000),
            connections: Some(4),
            retry_for: Some(Duration::from_secs(7)),
            stall_after: Some(Duration::from_secs(9)),
            ..StoreOptions::default()
        };
        assert_eq!(options, expected);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, part) in [
            ("", "folder is empty"),
            ("file://host/path", "absolute path"),
            ("gs://bucket", "gs is not supported"),
            ("s3://", "bucket's name"),
            ("s3://b/a/../b", "`..`"),
            ("s3://b/a//b", "empty part"),
            ("s3:ftp://host/bucket", "not supported"),
            ("s3://key:secret@bucket/x", "no user name and password"),
            ("s3:https://key:secret@host/bucket", "AWS_ACCESS_KEY_ID"),
            ("s3:key:secret@host/bucket", "no user name and password"),
            ("s3://b?secret_access_key=hunter2", "credentials do not belong"),
            ("s3://b?regoin=x", "?regoin= is not known"),
            ("s3://b?path_style=yes", "true or false"),
        ] {
            let told = refused(text);
            assert!(told.contains(part), "{text}: {told}");
            assert!(!told.contains("secret@") && !told.contains("hunter2"), "{text}: {told}");
        }
    }

    #[test]
    fn a_password_in_a_url_is_not_repeated() {
        assert_eq!(redacted("s3:https://a:b@host/bucket"), "s3:https://…@host/bucket");
        assert_eq!(redacted("s3://a:b@bucket/p?region=x"), "s3://…@bucket/p?region=x");
        assert_eq!(redacted("s3://bucket/p@q"), "s3://bucket/p@q");
        assert_eq!(redacted("/srv/a@b"), "/srv/a@b");
    }
}
