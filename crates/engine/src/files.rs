//! Storage files: how a project's service is reached. Backups take the files along, restores send them back.

mod folders;

pub use crate::restore::files::{FilesOptions, FilesReport, present, restore};
pub(crate) use folders::Folders;

pub use basekeep_supabase::storage::{Address, Credentials, Patience, service_url};

/// How the storage files of a source, or of a target, are reached.
#[derive(Debug, Clone, Default)]
pub enum FilesAccess {
    /// Nothing was said, and nothing could be found out.
    #[default]
    Unknown,
    /// They are left out on purpose.
    Skip,
    /// Something was said, but it does not suffice.
    Unavailable {
        /// Why, for people: `the variable SUPABASE_SERVICE_ROLE_KEY is not set`.
        reason: String,
    },
    /// Through this service.
    Service {
        /// Where it is.
        address: Address,
        /// For how long it is tried.
        patience: Patience,
    },
}

impl FilesAccess {
    /// Through this service, with the usual patience.
    pub fn service(address: Address) -> Self {
        Self::Service { address, patience: Patience::default() }
    }
}
