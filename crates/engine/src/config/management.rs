//! `management` of a source: how its project's Management API is reached.

use basekeep_postgres::{Environment, Secret};
use basekeep_supabase::management::{DEFAULT_TOKEN_ENV, DEFAULT_URL};

use super::Dotenv;

/// `management = { project_ref = "…", token_env = "…", url = "…" }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagementEntry {
    /// The project's reference.
    pub project_ref: String,
    /// The variable that holds the access token.
    pub token_env: String,
    /// The API's address, without `/v1`.
    pub url: String,
}

/// The same with the token, where there is one.
#[derive(Debug, Clone)]
pub struct Management {
    /// What the configuration says.
    pub entry: ManagementEntry,
    /// The access token; `None` where the variable is not set, which a backup tells and survives.
    pub token: Option<Secret>,
}

impl ManagementEntry {
    /// The project at supabase.com, with the token of the Supabase CLI's variable.
    pub fn new(project_ref: impl Into<String>) -> Self {
        let (token_env, url) = (DEFAULT_TOKEN_ENV.to_owned(), DEFAULT_URL.to_owned());
        Self { project_ref: project_ref.into(), token_env, url }
    }

    /// Looks for the token in the environment, then in the project's `.env` files.
    pub fn resolve(&self, env: &Environment, dotenv: &Dotenv) -> Management {
        let token = env.var(&self.token_env).or_else(|| dotenv.var(&self.token_env));
        let token = token.filter(|token| !token.trim().is_empty()).map(Secret::new);
        Management { entry: self.clone(), token }
    }
}
