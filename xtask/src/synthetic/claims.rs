//! A store that claims to have packs which it does not have.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use basekeep_store::{ErrorKind, Local, Object, Operation, Put, Store, StoreError};
use bytes::Bytes;

use super::Result;

/// The list of claims, beside the repository.
const LIST: &str = "claims";

/// A folder with real files, and claims.
#[derive(Debug)]
pub(super) struct Claims {
    real: Local,
    sizes: BTreeMap<String, u64>,
}

/// Opens what `folder` holds.
pub(super) fn open(folder: &Path) -> Result<Arc<dyn Store>> {
    let mut sizes = BTreeMap::new();
    if let Ok(list) = std::fs::read_to_string(folder.join(LIST)) {
        for line in list.lines() {
            let (size, key) = line.split_once(' ').ok_or("the list of claims is damaged")?;
            sizes.insert(key.to_owned(), size.parse()?);
        }
    }
    Ok(Arc::new(Claims { real: Local::new(folder.join("repository")), sizes }))
}

/// Writes the list.
pub(super) fn save(folder: &Path, claims: &[(String, u64)]) -> Result<()> {
    let lines: String = claims.iter().map(|(key, size)| format!("{size} {key}\n")).collect();
    Ok(std::fs::write(folder.join(LIST), lines)?)
}

impl Claims {
    fn refuse(&self, operation: Operation, key: &str) -> std::result::Result<(), StoreError> {
        if self.sizes.contains_key(key) {
            return Err(StoreError::new(ErrorKind::Permanent, operation, key, "it is only claimed to exist"));
        }
        Ok(())
    }
}

#[async_trait]
impl Store for Claims {
    async fn put(&self, key: &str, data: Bytes) -> std::result::Result<Put, StoreError> {
        self.real.put(key, data).await
    }

    async fn get(&self, key: &str) -> std::result::Result<Bytes, StoreError> {
        self.refuse(Operation::Get, key)?;
        self.real.get(key).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> std::result::Result<Bytes, StoreError> {
        self.refuse(Operation::GetRange, key)?;
        self.real.get_range(key, range).await
    }

    async fn size(&self, key: &str) -> std::result::Result<u64, StoreError> {
        match self.sizes.get(key) {
            Some(size) => Ok(*size),
            None => self.real.size(key).await,
        }
    }

    async fn list(&self, prefix: &str) -> std::result::Result<Vec<Object>, StoreError> {
        let mut objects = self.real.list(prefix).await?;
        let claimed = self.sizes.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
        objects.extend(claimed.map(|(key, size)| Object { key: key.clone(), size: *size }));
        objects.sort();
        Ok(objects)
    }

    async fn delete(&self, key: &str) -> std::result::Result<(), StoreError> {
        self.refuse(Operation::Delete, key)?;
        self.real.delete(key).await
    }

    fn location(&self) -> String {
        self.real.location()
    }
}
