//! A store in memory, for tests.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{ErrorKind, Object, Operation, Put, Store, StoreError, key};

/// Objects in a map.
#[derive(Debug, Default)]
pub struct Memory {
    objects: Mutex<BTreeMap<String, (Bytes, SystemTime)>>,
}

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<String, (Bytes, SystemTime)>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, operation: Operation, name: &str) -> Result<Bytes, StoreError> {
        key::check(operation, name)?;
        let found = self.objects().get(name).map(|(data, _)| data.clone());
        found.ok_or_else(|| StoreError::new(ErrorKind::NotFound, operation, name, "no such object"))
    }
}

#[async_trait]
impl Store for Memory {
    async fn put(&self, key: &str, data: Bytes) -> Result<Put, StoreError> {
        key::check(Operation::Put, key)?;
        let mut objects = self.objects();
        if objects.contains_key(key) {
            return Ok(Put::AlreadyExists);
        }
        objects.insert(key.to_owned(), (data, SystemTime::now()));
        Ok(Put::Written)
    }

    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.find(Operation::Get, key)
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let data = self.find(Operation::GetRange, key)?;
        let (start, end) = (usize::try_from(range.start), usize::try_from(range.end));
        match (start, end) {
            (Ok(start), Ok(end)) if start <= end && end <= data.len() => Ok(data.slice(start..end)),
            _ => Err(StoreError::new(
                ErrorKind::Corrupt,
                Operation::GetRange,
                key,
                format!(
                    "it has {} bytes and bytes {}..{} were asked for",
                    data.len(),
                    range.start,
                    range.end
                ),
            )),
        }
    }

    async fn size(&self, key: &str) -> Result<u64, StoreError> {
        Ok(self.find(Operation::Size, key)?.len() as u64)
    }

    async fn modified(&self, key: &str) -> Result<Option<SystemTime>, StoreError> {
        self.find(Operation::Size, key)?;
        Ok(self.objects().get(key).map(|(_, written)| *written))
    }

    fn lists_at_once(&self) -> bool {
        true
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
        key::check_prefix(prefix)?;
        Ok(self
            .objects()
            .iter()
            .filter(|(key, _)| key.starts_with(prefix))
            .map(|(key, (data, _))| Object { key: key.clone(), size: data.len() as u64 })
            .collect())
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        key::check(Operation::Delete, key)?;
        self.objects().remove(key);
        Ok(())
    }

    fn location(&self) -> String {
        "memory".to_owned()
    }
}
