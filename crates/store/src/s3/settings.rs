//! Everything about a bucket, put together from options, URL, environment, profile and defaults, in this order.

use std::path::PathBuf;
use std::time::Duration;

use super::credentials::Source;
use super::failure::Failure;
use super::profile::Profile;
use crate::options::{Secret, StoreOptions, Surroundings};
use crate::place::Bucket;
use crate::{ErrorKind, Operation, StoreError};

const DEFAULT_REGION: &str = "us-east-1";
const DEFAULT_CONNECTIONS: usize = 16;
const DEFAULT_RETRY: Duration = Duration::from_secs(120);
const DEFAULT_STALL: Duration = Duration::from_secs(60);

/// What a store needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) bucket: String,
    pub(crate) prefix: String,
    /// A server of one's own: scheme, host, port and path, no slash at the end.
    pub(crate) endpoint: Option<String>,
    /// Scheme, host and path of the bucket itself.
    pub(crate) bucket_url: String,
    pub(crate) region: String,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) limit_upload: Option<u64>,
    pub(crate) limit_download: Option<u64>,
    pub(crate) connections: usize,
    pub(crate) retry_for: Duration,
    pub(crate) stall_after: Duration,
    pub(crate) credentials: Source,
}

impl Settings {
    pub(crate) fn resolve(
        bucket: Bucket,
        given: &StoreOptions,
        surroundings: &Surroundings,
    ) -> Result<Self, StoreError> {
        let resolved = Self::put_together(bucket, given, surroundings);
        resolved.map_err(|failure| failure.into_error(Operation::Open, ""))
    }

    fn put_together(
        bucket: Bucket,
        given: &StoreOptions,
        surroundings: &Surroundings,
    ) -> Result<Self, Failure> {
        let options = merged(given, bucket.options);
        let var = |name: &str| surroundings.var(name).map(str::to_owned);
        let profile = profile(&options, surroundings)?;
        let of_profile = |key: &str| profile.get(key).map(str::to_owned);

        let endpoint = options
            .endpoint
            .clone()
            .or_else(|| var("AWS_ENDPOINT_URL_S3"))
            .or_else(|| var("AWS_ENDPOINT_URL"))
            .or_else(|| of_profile("endpoint_url"));
        let (endpoint, region_of_endpoint) = match endpoint {
            Some(endpoint) => own_or_aws(&endpoint)?,
            None => (None, None),
        };
        let region = options
            .region
            .clone()
            .or(region_of_endpoint)
            .or_else(|| var("AWS_REGION"))
            .or_else(|| var("AWS_DEFAULT_REGION"))
            .or_else(|| of_profile("region"))
            .unwrap_or_else(|| DEFAULT_REGION.to_owned());
        // A dot in the name would not fit the certificate of *.s3.amazonaws.com.
        let path_style = options.path_style.unwrap_or(endpoint.is_some() || bucket.name.contains('.'));
        let retry_variable = surroundings.var("BASEKEEP_RETRY_SECONDS").and_then(|text| text.parse().ok());
        let sts = var("AWS_ENDPOINT_URL_STS");
        Ok(Self {
            bucket_url: bucket_url(endpoint.as_deref(), &bucket.name, &region, path_style)?,
            credentials: source(&options, surroundings, &profile, &region, sts)?,
            bucket: bucket.name,
            prefix: bucket.prefix,
            endpoint,
            region,
            ca_file: options
                .ca_file
                .or_else(|| var("AWS_CA_BUNDLE").map(PathBuf::from))
                .or_else(|| of_profile("ca_bundle").map(PathBuf::from)),
            limit_upload: options.limit_upload,
            limit_download: options.limit_download,
            connections: options.connections.unwrap_or(DEFAULT_CONNECTIONS).max(1),
            retry_for: options
                .retry_for
                .or_else(|| retry_variable.map(Duration::from_secs))
                .unwrap_or(DEFAULT_RETRY),
            stall_after: options.stall_after.unwrap_or(DEFAULT_STALL),
        })
    }

    /// For people, and for `open` again: without credentials.
    pub(crate) fn location(&self) -> String {
        let path = if self.prefix.is_empty() {
            self.bucket.clone()
        } else {
            format!("{}/{}", self.bucket, self.prefix)
        };
        match &self.endpoint {
            Some(endpoint) => format!("s3:{endpoint}/{path}"),
            None => format!("s3://{path}"),
        }
    }
}

/// `first` wins, field by field.
fn merged(first: &StoreOptions, second: StoreOptions) -> StoreOptions {
    let first = first.clone();
    StoreOptions {
        endpoint: first.endpoint.or(second.endpoint),
        region: first.region.or(second.region),
        profile: first.profile.or(second.profile),
        access_key_id: first.access_key_id.or(second.access_key_id),
        secret_access_key: first.secret_access_key.or(second.secret_access_key),
        session_token: first.session_token.or(second.session_token),
        path_style: first.path_style.or(second.path_style),
        ca_file: first.ca_file.or(second.ca_file),
        limit_upload: first.limit_upload.or(second.limit_upload),
        limit_download: first.limit_download.or(second.limit_download),
        connections: first.connections.or(second.connections),
        retry_for: first.retry_for.or(second.retry_for),
        stall_after: first.stall_after.or(second.stall_after),
    }
}

fn profile(options: &StoreOptions, surroundings: &Surroundings) -> Result<Profile, Failure> {
    let named = surroundings.var("AWS_PROFILE").or_else(|| surroundings.var("AWS_DEFAULT_PROFILE"));
    let name = options.profile.as_deref().or(named);
    Profile::read(name.unwrap_or("default"), name.is_some(), surroundings)
}

/// An endpoint of AWS itself says its region and is otherwise the default; any other is taken as it is.
fn own_or_aws(endpoint: &str) -> Result<(Option<String>, Option<String>), Failure> {
    let wrong = |why: &str| {
        Failure::new(ErrorKind::Permanent, format!("the endpoint {endpoint} {why}"))
            .hint("write it as https://host, https://host:port or https://host/path")
    };
    let text = if endpoint.contains("://") { endpoint.to_owned() } else { format!("https://{endpoint}") };
    let url = reqwest::Url::parse(&text).map_err(|error| wrong(&format!("is no URL: {error}")))?;
    if !matches!(url.scheme(), "https" | "http") || !url.username().is_empty() || url.password().is_some() {
        return Err(Failure::new(
            ErrorKind::Permanent,
            "the endpoint must be an http or https URL without a password",
        ));
    }
    let host = url.host_str().ok_or_else(|| wrong("has no host"))?;
    if let Some(rest) = host.strip_suffix(".amazonaws.com")
        && let Some(region) = rest.strip_prefix("s3")
        && !rest.contains("fips")
        && !rest.contains("dualstack")
    {
        let region = region.trim_start_matches(['.', '-']);
        return Ok((None, (!region.is_empty()).then(|| region.to_owned())));
    }
    Ok((Some(text.trim_end_matches('/').to_owned()), None))
}

fn bucket_url(
    endpoint: Option<&str>,
    bucket: &str,
    region: &str,
    path_style: bool,
) -> Result<String, Failure> {
    let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    let endpoint = endpoint.map_or_else(|| format!("https://s3.{region}.{suffix}"), str::to_owned);
    if path_style {
        return Ok(format!("{endpoint}/{bucket}"));
    }
    let (scheme, host) = endpoint.split_once("://").unwrap_or(("https", &endpoint));
    if host.contains('/') {
        return Err(Failure::new(ErrorKind::Permanent, "an endpoint with a path needs path_style = true"));
    }
    Ok(format!("{scheme}://{bucket}.{host}"))
}

/// The first of these that names any: options, environment, profile, web identity, container, machine.
fn source(
    options: &StoreOptions,
    surroundings: &Surroundings,
    profile: &Profile,
    region: &str,
    sts: Option<String>,
) -> Result<Source, Failure> {
    let var = |name: &str| surroundings.var(name).map(str::to_owned);
    let of_options = pair(
        options.access_key_id.clone(),
        options.secret_access_key.clone(),
        options.session_token.clone(),
        "the repository's options",
    )?;
    if let Some(found) = of_options {
        return Ok(found);
    }
    // A profile that was asked for by name is meant, whatever is in the environment.
    let of_environment = if options.profile.is_some() {
        None
    } else {
        pair(
            var("AWS_ACCESS_KEY_ID"),
            var("AWS_SECRET_ACCESS_KEY").map(Secret::new),
            var("AWS_SESSION_TOKEN").map(Secret::new),
            "the environment",
        )?
    };
    if let Some(found) = of_environment {
        return Ok(found);
    }
    if let Some(found) = of_profile(profile)? {
        return Ok(found);
    }
    if let (Some(token_file), Some(role)) = (var("AWS_WEB_IDENTITY_TOKEN_FILE"), var("AWS_ROLE_ARN")) {
        return Ok(Source::WebIdentity {
            token_file: token_file.into(),
            role,
            session: var("AWS_ROLE_SESSION_NAME").unwrap_or_else(|| "basekeep".to_owned()),
            endpoint: sts.unwrap_or_else(|| format!("https://sts.{region}.amazonaws.com")),
        });
    }
    let full = var("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    let relative = var("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    if let Some(url) = relative.map(|path| format!("http://169.254.170.2{path}")).or(full) {
        return Ok(Source::Container {
            url,
            token: var("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(Secret::new),
            token_file: var("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").map(PathBuf::from),
        });
    }
    let files: Vec<_> = profile.files.iter().map(|file| file.display().to_string()).collect();
    let mut looked_for = format!(
        "the repository's options, AWS_ACCESS_KEY_ID, the profile {} in {}, AWS_WEB_IDENTITY_TOKEN_FILE, \
         AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        profile.name,
        if files.is_empty() { "no file".to_owned() } else { files.join(" and ") },
    );
    if surroundings.var("AWS_EC2_METADATA_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        let text = format!("no credentials for S3 were found; looked at {looked_for}");
        return Err(Failure::new(ErrorKind::Denied, text).hint(
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile of ~/.aws/credentials",
        ));
    }
    looked_for.push_str(" and the role of this machine");
    let endpoint = var("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    Ok(Source::Instance {
        endpoint: endpoint.unwrap_or_else(|| "http://169.254.169.254".to_owned()),
        looked_for,
    })
}

fn of_profile(profile: &Profile) -> Result<Option<Source>, Failure> {
    let get = |key: &str| profile.get(key).map(str::to_owned);
    let place = format!("the profile {}", profile.name);
    let secret = get("aws_secret_access_key").map(Secret::new);
    let token = get("aws_session_token").map(Secret::new);
    if let Some(found) = pair(get("aws_access_key_id"), secret, token, &place)? {
        return Ok(Some(found));
    }
    if let Some(command) = get("credential_process") {
        return Ok(Some(Source::Process { command }));
    }
    let unsupported = ["role_arn", "sso_session", "sso_start_url", "login_session"];
    if let Some(key) = unsupported.into_iter().find(|key| get(key).is_some()) {
        let name = &profile.name;
        return Err(Failure::new(
            ErrorKind::Permanent,
            format!("{place} uses {key}, which basekeep does not know"),
        )
        .hint(format!(
            "let the AWS tool fetch them: a profile with `credential_process = aws configure \
                 export-credentials --profile {name}`"
        )));
    }
    Ok(None)
}

fn pair(
    id: Option<String>,
    secret: Option<Secret>,
    token: Option<Secret>,
    place: &str,
) -> Result<Option<Source>, Failure> {
    let half = |what: &str| {
        Err(Failure::new(ErrorKind::Permanent, format!("{place} has only half of an access key: no {what}"))
            .hint("an access key is an id and a secret (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)"))
    };
    match (id, secret) {
        (Some(id), Some(secret)) => Ok(Some(Source::Static { id, secret, token })),
        (Some(_), None) => half("secret"),
        (None, Some(_)) => half("id"),
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::Place;

    fn resolve(url: &str, given: &StoreOptions, variables: &[(&str, &str)]) -> Result<Settings, StoreError> {
        let Place::Bucket(bucket) = url.parse().unwrap() else { panic!("{url} is a folder") };
        let mut all = vec![("AWS_EC2_METADATA_DISABLED", "true")];
        if !variables.iter().any(|(name, _)| *name == "AWS_ACCESS_KEY_ID") {
            all.extend([("AWS_ACCESS_KEY_ID", "E"), ("AWS_SECRET_ACCESS_KEY", "e")]);
        }
        all.extend(variables);
        let variables = all.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Settings::resolve(*bucket, given, &Surroundings { variables, home: None })
    }

    fn of_url(url: &str, variables: &[(&str, &str)]) -> Settings {
        resolve(url, &StoreOptions::default(), variables).unwrap()
    }

    #[test]
    fn each_server_is_addressed_in_its_style() {
        for (url, expected) in [
            ("s3://backups/p", "https://backups.s3.us-east-1.amazonaws.com"),
            ("s3://backups/p?region=eu-west-1", "https://backups.s3.eu-west-1.amazonaws.com"),
            ("s3://backups/p?region=cn-north-1", "https://backups.s3.cn-north-1.amazonaws.com.cn"),
            ("s3://my.backups/p", "https://s3.us-east-1.amazonaws.com/my.backups"),
            ("s3:s3.amazonaws.com/backups/p", "https://backups.s3.us-east-1.amazonaws.com"),
            ("s3:s3.eu-west-1.amazonaws.com/backups/p", "https://backups.s3.eu-west-1.amazonaws.com"),
            ("s3:http://127.0.0.1:3900/backups/p", "http://127.0.0.1:3900/backups"),
            ("s3:https://h/backups/p?path_style=false", "https://backups.h"),
            (
                "s3://backups?endpoint=https://ref.storage.supabase.co/storage/v1/s3",
                "https://ref.storage.supabase.co/storage/v1/s3/backups",
            ),
        ] {
            assert_eq!(of_url(url, &[]).bucket_url, expected, "{url}");
        }
    }

    #[test]
    fn options_win_over_the_url_and_it_over_the_environment() {
        let variables = [
            ("AWS_REGION", "of-env"),
            ("AWS_ENDPOINT_URL", "https://general"),
            ("AWS_ENDPOINT_URL_S3", "https://env/"),
            ("BASEKEEP_RETRY_SECONDS", "7"),
        ];
        let found = of_url("s3://b", &variables);
        assert_eq!((found.region.as_str(), found.endpoint.as_deref()), ("of-env", Some("https://env")));
        assert_eq!(found.retry_for, Duration::from_secs(7));
        let found = of_url("s3:https://url/b?region=of-url&retry_seconds=8", &variables);
        assert_eq!((found.region.as_str(), found.endpoint.as_deref()), ("of-url", Some("https://url")));
        assert_eq!(found.retry_for, Duration::from_secs(8));
        let given = StoreOptions { region: Some("given".to_owned()), ..StoreOptions::default() };
        assert_eq!(resolve("s3://b?region=of-url", &given, &variables).unwrap().region, "given");
    }

    #[test]
    fn explicit_keys_win_over_the_environment() {
        let token = [("AWS_SESSION_TOKEN", "t")];
        let Source::Static { id, token, .. } = of_url("s3://b", &token).credentials else { panic!() };
        assert_eq!((id.as_str(), token), ("E", Some(Secret::new("t"))));
        let given = StoreOptions {
            access_key_id: Some("G".to_owned()),
            secret_access_key: Some(Secret::new("g")),
            ..StoreOptions::default()
        };
        let Source::Static { id, .. } = resolve("s3://b", &given, &[]).unwrap().credentials else { panic!() };
        assert_eq!(id, "G");
        let half = StoreOptions { access_key_id: Some("G".to_owned()), ..StoreOptions::default() };
        let error = resolve("s3://b", &half, &[]).unwrap_err();
        assert!(error.to_string().contains("only half of an access key: no secret"), "{error}");
    }

    #[test]
    fn a_location_can_be_opened_again() {
        for url in ["s3://backups/p", "s3:http://127.0.0.1:3900/backups/p", "s3://backups"] {
            let location = of_url(url, &[]).location();
            assert_eq!(location, url);
            assert_eq!(of_url(&location, &[]).bucket_url, of_url(url, &[]).bucket_url);
        }
        let location = of_url("s3:http://127.0.0.1:3900/b/p", &[]).location();
        assert!(!location.contains('E'), "{location}");
    }
}
