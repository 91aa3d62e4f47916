//! What the Management API gives: deployed functions, names of secrets, configuration without secrets, the root key.
//!
//! The snapshot never depends on it: what the API refuses or does not answer is named as not captured.

use std::sync::Arc;

use basekeep_repository::{FileContent, Writer};
use basekeep_supabase::management::{Api, ApiError, DOCUMENTS, Document, Function, Patience, redact};
use serde::Serialize;

use super::parts::{PartFile, Parts};
use super::{Source, Stopped};
use crate::stored::manifest::Supabase;
use crate::stored::project as stored;
use crate::words::counted;
use crate::{EngineError, Observer, ResultExt, event};

/// Average chunk size of a bundle, in bytes.
const CHUNK_AVERAGE: usize = 256 << 10;
/// How often a bundle is fetched whose answer breaks off.
const ATTEMPTS: usize = 3;

/// Captures it, where the source names an API. `recognised` as for the project's folder.
pub(super) async fn capture(
    writer: &Writer,
    source: &Source,
    recognised: bool,
    observer: &Arc<dyn Observer>,
) -> Result<Parts, Stopped> {
    let mut piece = Piece { writer, parts: Parts::default(), described: Supabase::default() };
    let Some(management) = &source.management else { return Ok(piece.parts) };
    let began = event::begin(observer, "management api");
    match open(management).await {
        Ok(api) => piece.everything(&api).await?,
        Err(error) => piece.missed("what the Management API knows of the project", &error),
    }
    let Piece { mut parts, described, .. } = piece;
    began.end(counted(parts.files.len() as u64, "file", "files"));
    // Without a project in the database there is nothing that its counts could stand beside.
    parts.supabase = recognised.then_some(described);
    Ok(parts)
}

/// The API, once it has let us in.
pub(crate) async fn open(management: &crate::config::Management) -> Result<Api, ApiError> {
    use basekeep_supabase::management::ErrorKind;
    let entry = &management.entry;
    let token = management.token.clone().ok_or_else(|| {
        ApiError::new(
            ErrorKind::Usage,
            format!("the variable {}, which holds the access token, is not set", entry.token_env),
        )
    })?;
    let api = Api::new(&entry.url, &entry.project_ref, token, Patience::default())?;
    api.project().await?;
    Ok(api)
}

struct Piece<'w> {
    writer: &'w Writer,
    parts: Parts,
    described: Supabase,
}

impl Piece<'_> {
    async fn everything(&mut self, api: &Api) -> Result<(), Stopped> {
        self.functions(api).await?;
        self.secrets(api).await?;
        self.root_key(api).await?;
        for document in &DOCUMENTS {
            self.document(api, document).await?;
        }
        Ok(())
    }

    async fn functions(&mut self, api: &Api) -> Result<(), Stopped> {
        let functions = match api.functions().await {
            Ok(functions) => functions,
            Err(error) => {
                self.missed("the deployed edge functions", &error);
                return Ok(());
            }
        };
        let mut deployed = Vec::with_capacity(functions.len());
        for function in functions {
            let file = format!("{}/{}.eszip", stored::DEPLOYED, function.slug);
            let kept = match self.bundle(api, &function).await? {
                Ok(content) => {
                    self.parts.files.push(PartFile { path: file.clone(), content });
                    Some(file)
                }
                Err(error) => {
                    self.missed(&format!("the deployed edge function {}", function.slug), &error);
                    None
                }
            };
            deployed.push(described(function, kept));
        }
        self.described.count("deployed_functions", deployed.len() as u64);
        let document = stored::DeployedFunctions { version: stored::VERSION, functions: deployed };
        self.put(stored::FUNCTIONS, &document).await
    }

    /// Streams a bundle. The inner error is the API's.
    async fn bundle(
        &self,
        api: &Api,
        function: &Function,
    ) -> Result<Result<FileContent, ApiError>, EngineError> {
        let doing = || format!("store the edge function {}", function.slug);
        let mut tried = 0;
        loop {
            tried += 1;
            let mut content = match api.function_body(&function.slug).await {
                Ok(content) => content,
                Err(error) => return Ok(Err(error)),
            };
            let mut file = self.writer.file(CHUNK_AVERAGE);
            let broken = loop {
                match content.next().await {
                    Ok(Some(piece)) => file.write(&piece).await.doing(doing)?,
                    Ok(None) => break None,
                    Err(error) => break Some(error),
                }
            };
            // Also of a bundle that is not kept: a file that is not finished would forbid the snapshot.
            let content = file.finish().await.doing(doing)?;
            match broken {
                None => return Ok(Ok(content)),
                Some(error) if tried >= ATTEMPTS => return Ok(Err(error)),
                Some(_) => {}
            }
        }
    }

    async fn secrets(&mut self, api: &Api) -> Result<(), Stopped> {
        let secrets = match api.secrets().await {
            Ok(secrets) => secrets,
            Err(error) => {
                self.missed("the names of the edge functions' secrets", &error);
                return Ok(());
            }
        };
        let own: Vec<_> = secrets.into_iter().filter(|secret| !secret.is_platforms()).collect();
        self.described.count("function_secrets", own.len() as u64);
        let again = own.iter().map(|secret| format!("secret {} of the edge functions", secret.name));
        self.described.supply_again.extend(again);
        let secrets = own
            .into_iter()
            .map(|secret| stored::SecretName { name: secret.name, updated_at: secret.updated_at });
        let document = stored::SecretNames { version: stored::VERSION, secrets: secrets.collect() };
        self.put(stored::SECRETS, &document).await
    }

    async fn root_key(&mut self, api: &Api) -> Result<(), Stopped> {
        match api.pgsodium_root_key().await {
            Ok(Some(key)) => {
                let document = stored::RootKey { version: stored::VERSION, root_key: key };
                self.put(stored::ROOT_KEY, &document).await
            }
            Ok(None) => Ok(()),
            Err(error) => {
                self.missed("pgsodium's root key", &error);
                Ok(())
            }
        }
    }

    async fn document(&mut self, api: &Api, document: &Document) -> Result<(), Stopped> {
        let mut config = match api.document(document).await {
            Ok(Some(config)) => config,
            Ok(None) => return Ok(()),
            Err(error) => {
                self.missed(document.words, &error);
                return Ok(());
            }
        };
        let redacted = redact::redact(&mut config);
        let again = redacted.iter().map(|place| format!("{place} in {}", document.words));
        self.described.supply_again.extend(again);
        self.described.count("configuration_documents", 1);
        let stored = stored::Configuration {
            version: stored::VERSION,
            path: document.path.to_owned(),
            redacted,
            config,
        };
        self.put(&stored::configuration(document.name), &stored).await
    }

    async fn put(&mut self, path: &str, document: &impl Serialize) -> Result<(), Stopped> {
        let bytes = serde_json::to_vec_pretty(document)
            .map_err(|error| EngineError::failed(format!("write {path}")).caused_by(error))?;
        let content = self.writer.put_file(&bytes).await.doing(|| format!("store {path}"))?;
        self.parts.files.push(PartFile { path: path.to_owned(), content });
        Ok(())
    }

    fn missed(&mut self, what: &str, error: &ApiError) {
        self.parts.miss(what, error.message.clone(), error.hint());
    }
}

fn described(function: Function, file: Option<String>) -> stored::DeployedFunction {
    stored::DeployedFunction {
        slug: function.slug,
        name: function.name,
        status: function.status,
        deployments: function.version,
        verify_jwt: function.verify_jwt,
        import_map: function.import_map,
        entrypoint_path: function.entrypoint_path,
        import_map_path: function.import_map_path,
        ezbr_sha256: function.ezbr_sha256,
        file,
    }
}
