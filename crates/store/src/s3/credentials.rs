//! Where the access key comes from, in the order of AWS tools, and how temporary ones are renewed.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;
use reqwest::{Client, RequestBuilder};
use serde_json::Value;
use tokio::sync::Mutex;

use super::failure::{Failure, element};
use super::transport::innermost;
use crate::ErrorKind;
use crate::options::Secret;

/// Temporary credentials are renewed so long before they end.
const EARLY: Duration = Duration::from_secs(5 * 60);
/// How long a program that prints credentials may take; it may ask a person for a code.
const PROCESS_TIMEOUT: Duration = Duration::from_secs(120);

/// Where credentials are taken from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// Options, environment or profile.
    Static { id: String, secret: Secret, token: Option<Secret> },
    /// The profile's `credential_process`.
    Process { command: String },
    /// `AWS_WEB_IDENTITY_TOKEN_FILE` and `AWS_ROLE_ARN`, as Kubernetes sets them.
    WebIdentity { token_file: PathBuf, role: String, session: String, endpoint: String },
    /// The service beside a container, as ECS and EKS set it.
    Container { url: String, token: Option<Secret>, token_file: Option<PathBuf> },
    /// The machine's own role (IMDSv2). Last, so what was looked for before is told when it fails.
    Instance { endpoint: String, looked_for: String },
}

/// Credentials, fetched when first needed and renewed before they end.
pub(crate) struct Credentials {
    source: Source,
    /// For the outside (STS), and for services of this machine.
    client: Client,
    metadata: Client,
    fetched: Mutex<Option<Fetched>>,
}

#[derive(Clone)]
struct Fetched {
    credential: Arc<AwsCredential>,
    ends: Option<Timestamp>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("source", &self.source).finish_non_exhaustive()
    }
}

impl Credentials {
    pub(crate) fn new(source: Source, client: Client, metadata: Client) -> Self {
        Self { source, client, metadata, fetched: Mutex::new(None) }
    }

    async fn fetch(&self) -> Result<Fetched, Failure> {
        match &self.source {
            Source::Static { id, secret, token } => Ok(Fetched {
                credential: Arc::new(AwsCredential {
                    key_id: id.clone(),
                    secret_key: secret.expose().to_owned(),
                    token: token.as_ref().map(|token| token.expose().to_owned()),
                }),
                ends: None,
            }),
            Source::Process { command } => from_process(command).await,
            Source::WebIdentity { token_file, role, session, endpoint } => {
                let token = read_token(token_file)?;
                let query = [
                    ("Action", "AssumeRoleWithWebIdentity"),
                    ("Version", "2011-06-15"),
                    ("RoleArn", role),
                    ("RoleSessionName", session),
                    ("WebIdentityToken", token.expose()),
                ];
                let form: Vec<_> = query.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
                let request = self.client.post(endpoint).body(form.join("&"));
                let request = request.header("content-type", "application/x-www-form-urlencoded");
                let answer = ask("the role of the web identity", request.timeout(Duration::from_secs(30))).await?;
                let get = |name: &str| element(&answer, name);
                fetched(get("AccessKeyId"), get("SecretAccessKey"), get("SessionToken"), get("Expiration"))
                    .ok_or_else(|| odd("the role of the web identity"))
            }
            Source::Container { url, token, token_file } => {
                let token = match token_file {
                    Some(file) => Some(read_token(file)?),
                    None => token.clone(),
                };
                let mut request = self.metadata.get(url);
                if let Some(token) = token {
                    request = request.header("authorization", token.expose());
                }
                from_json(&ask("the container's role", request).await?).ok_or_else(|| odd("the container's role"))
            }
            Source::Instance { endpoint, looked_for } => self.of_instance(endpoint).await.map_err(|failure| {
                let text = format!("no credentials for S3 were found; looked at {looked_for} ({failure})");
                Failure::new(failure.kind, text).hint(
                    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile of ~/.aws/credentials",
                )
            }),
        }
    }

    async fn of_instance(&self, endpoint: &str) -> Result<Fetched, Failure> {
        const WHAT: &str = "the machine's role";
        let endpoint = endpoint.trim_end_matches('/');
        let token = self.metadata.put(format!("{endpoint}/latest/api/token"));
        let token = ask(WHAT, token.header("x-aws-ec2-metadata-token-ttl-seconds", "600")).await?;
        let get = |path: &str| {
            let url = format!("{endpoint}/latest/meta-data/iam/security-credentials/{path}");
            self.metadata.get(url).header("x-aws-ec2-metadata-token", token.as_str())
        };
        let roles = ask(WHAT, get("")).await?;
        let role = roles.lines().next().unwrap_or_default().trim();
        if role.is_empty() {
            return Err(Failure::new(ErrorKind::Denied, "the machine has no role"));
        }
        from_json(&ask(WHAT, get(role)).await?).ok_or_else(|| odd(WHAT))
    }
}

#[async_trait]
impl CredentialProvider for Credentials {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let mut known = self.fetched.lock().await;
        if let Some(fetched) = &*known
            && fetched.ends.is_none_or(|ends| Timestamp::now() + EARLY < ends)
        {
            return Ok(fetched.credential.clone());
        }
        match self.fetch().await {
            Ok(fetched) => Ok(known.insert(fetched).credential.clone()),
            // Those at hand serve until they end; the service may be back before that.
            Err(failure) => match &*known {
                Some(fetched) if fetched.ends.is_some_and(|ends| Timestamp::now() < ends) => {
                    tracing::warn!(%failure, "the credentials could not be renewed yet");
                    Ok(fetched.credential.clone())
                }
                _ => Err(object_store::Error::Generic { store: "S3", source: Box::new(failure) }),
            },
        }
    }
}

async fn ask(what: &str, request: RequestBuilder) -> Result<String, Failure> {
    let failed = |kind, cause: String| Failure::new(kind, format!("ask for {what}: {cause}"));
    let network = |error: reqwest::Error| failed(ErrorKind::Transient, innermost(&error));
    let answer = request.send().await.map_err(network)?;
    let status = answer.status();
    let text = answer.text().await.map_err(network)?;
    if status.is_success() {
        return Ok(text);
    }
    let kind = if status.is_server_error() || status.as_u16() == 429 {
        ErrorKind::Transient
    } else {
        ErrorKind::Denied
    };
    let message = element(&text, "Message").unwrap_or_default();
    Err(failed(kind, format!("the answer was {status} {message}").trim_end().to_owned()))
}

async fn from_process(command: &str) -> Result<Fetched, Failure> {
    let failed = |cause: String| {
        Failure::new(ErrorKind::Denied, format!("the profile's credential_process {cause}"))
            .hint(format!("try it: {command}"))
    };
    let mut shell = tokio::process::Command::new("sh");
    shell.arg("-c").arg(command).stdin(std::process::Stdio::null()).kill_on_drop(true);
    let ran = tokio::time::timeout(PROCESS_TIMEOUT, shell.output()).await;
    let output = ran.map_err(|_| failed(format!("took more than {} s", PROCESS_TIMEOUT.as_secs())))?;
    let output = output.map_err(|error| failed(format!("does not start: {error}")))?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        let last = told.trim().lines().next_back().unwrap_or_default();
        return Err(failed(format!("failed ({}): {last}", output.status)));
    }
    from_json(&String::from_utf8_lossy(&output.stdout))
        .ok_or_else(|| failed("printed no AccessKeyId and SecretAccessKey in JSON".to_owned()))
}

/// The document of `credential_process`, of containers and of machines: nearly the same.
fn from_json(text: &str) -> Option<Fetched> {
    let document: Value = serde_json::from_str(text).ok()?;
    let get = |name: &str| document[name].as_str().map(str::to_owned);
    let token = get("SessionToken").or_else(|| get("Token"));
    fetched(get("AccessKeyId"), get("SecretAccessKey"), token, get("Expiration"))
}

fn fetched(
    id: Option<String>,
    secret: Option<String>,
    token: Option<String>,
    ends: Option<String>,
) -> Option<Fetched> {
    let ends = match ends {
        Some(text) => Some(text.parse().ok()?),
        None => None,
    };
    let credential = AwsCredential { key_id: id?, secret_key: secret?, token };
    Some(Fetched { credential: Arc::new(credential), ends })
}

fn odd(what: &str) -> Failure {
    Failure::new(ErrorKind::Permanent, format!("ask for {what}: the answer holds no credentials"))
}

fn read_token(file: &PathBuf) -> Result<Secret, Failure> {
    let token = fs::read_to_string(file);
    let token = token.map_err(|error| {
        Failure::new(ErrorKind::Denied, format!("read the token in {}: {error}", file.display()))
    })?;
    Ok(Secret::new(token.trim()))
}

fn escaped(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
