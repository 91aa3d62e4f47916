//! A store with injected faults, for tests: failures before and after an operation took effect, torn writes, delays, and the
//! end of the process at a chosen operation; and it counts what was asked of it.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{ErrorKind, Object, Operation, Put, Store, StoreError};

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Fails and does nothing.
    Before(ErrorKind),
    /// Takes effect and fails: the answer is lost.
    After(ErrorKind),
    /// A put leaves only the first bytes under the key, and fails. Other operations fail before.
    Torn {
        /// How many bytes arrive.
        keep: usize,
        /// Of which kind the error is.
        kind: ErrorKind,
    },
    /// Succeeds after a pause.
    Delay(Duration),
    /// The process ends at once, as if killed, and the operation did nothing.
    KillBefore,
    /// The operation takes effect, and the process ends at once before anybody hears of it.
    KillAfter,
    /// A put leaves only the first bytes under the key, and the process ends at once. Other operations: as `KillBefore`.
    KillTorn {
        /// How many bytes arrive.
        keep: usize,
    },
}

/// Which operations a fault hits.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Only this operation; any if `None`.
    pub operation: Option<Operation>,
    /// Only keys that begin so.
    pub prefix: String,
    /// Lets this many matching operations pass first.
    pub skip: u64,
    /// Hits this many, then passes again.
    pub times: u64,
    /// What happens.
    pub fault: Fault,
}

impl Rule {
    /// `fault` on every `operation` of keys that begin with `prefix`.
    pub fn every(operation: Operation, prefix: &str, fault: Fault) -> Self {
        Self { operation: Some(operation), prefix: prefix.to_owned(), skip: 0, times: u64::MAX, fault }
    }

    /// `fault` on the `nth` (from 0) of these operations alone.
    pub fn nth(nth: u64, operation: Operation, prefix: &str, fault: Fault) -> Self {
        Self { operation: Some(operation), prefix: prefix.to_owned(), skip: nth, times: 1, fault }
    }

    /// `fault` on the `nth` (from 0) of all operations, whatever they do and on which key.
    pub fn nth_of_all(nth: u64, fault: Fault) -> Self {
        Self { operation: None, prefix: String::new(), skip: nth, times: 1, fault }
    }

    fn hits(&mut self, operation: Operation, key: &str) -> bool {
        if self.operation.is_some_and(|wanted| wanted != operation) || !key.starts_with(&self.prefix) {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        let hit = self.times > 0;
        self.times = self.times.saturating_sub(1);
        hit
    }
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<Rule>,
    counts: HashMap<Operation, u64>,
    log: Vec<(Operation, String)>,
}

/// Wraps a store and makes it fail as told.
#[derive(Debug)]
pub struct Faults {
    inner: Arc<dyn Store>,
    state: Arc<Mutex<State>>,
}

impl Faults {
    /// No faults yet.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, state: Arc::default() }
    }

    /// Wraps another store with the same rules and the same counters: work on two stores counts as one sequence.
    pub fn beside(&self, inner: Arc<dyn Store>) -> Self {
        Self { inner, state: self.state.clone() }
    }

    /// Adds a rule. The first rule that matches an operation decides.
    pub fn inject(&self, rule: Rule) {
        self.state().rules.push(rule);
    }

    /// Removes all rules.
    pub fn heal(&self) {
        self.state().rules.clear();
    }

    /// How often this was asked so far, failures included.
    pub fn count(&self, operation: Operation) -> u64 {
        self.state().counts.get(&operation).copied().unwrap_or(0)
    }

    /// How many operations of any kind this was asked for so far, failures included. The next one has this number in
    /// [`Rule::nth_of_all`] when the rule is injected before the first.
    pub fn total(&self) -> u64 {
        self.state().counts.values().sum()
    }

    /// Everything asked so far, in order.
    pub fn log(&self) -> Vec<(Operation, String)> {
        self.state().log.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fault(&self, operation: Operation, key: &str) -> Option<Fault> {
        let mut state = self.state();
        *state.counts.entry(operation).or_default() += 1;
        state.log.push((operation, key.to_owned()));
        state.rules.iter_mut().find_map(|rule| rule.hits(operation, key).then_some(rule.fault))
    }

    async fn run<T>(
        &self,
        operation: Operation,
        key: &str,
        work: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let fault = self.fault(operation, key);
        Self::apply(fault, operation, key, work).await
    }

    async fn apply<T>(
        fault: Option<Fault>,
        operation: Operation,
        key: &str,
        work: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let error = |kind| Err(StoreError::new(kind, operation, key, "injected fault"));
        match fault {
            None => work.await,
            Some(Fault::Before(kind) | Fault::Torn { kind, .. }) => error(kind),
            Some(Fault::After(kind)) => {
                work.await?;
                error(kind)
            }
            Some(Fault::Delay(pause)) => {
                tokio::time::sleep(pause).await;
                work.await
            }
            Some(Fault::KillBefore | Fault::KillTorn { .. }) => std::process::abort(),
            Some(Fault::KillAfter) => {
                // An operation that failed by itself has no effect to die after; its error is the caller's to see.
                work.await?;
                std::process::abort()
            }
        }
    }
}

#[async_trait]
impl Store for Faults {
    async fn put(&self, key: &str, data: Bytes) -> Result<Put, StoreError> {
        match self.fault(Operation::Put, key) {
            Some(Fault::Torn { keep, kind }) => {
                self.inner.put(key, data.slice(..keep.min(data.len()))).await?;
                Err(StoreError::new(kind, Operation::Put, key, "injected torn write"))
            }
            Some(Fault::KillTorn { keep }) => {
                self.inner.put(key, data.slice(..keep.min(data.len()))).await?;
                std::process::abort()
            }
            fault => Self::apply(fault, Operation::Put, key, self.inner.put(key, data)).await,
        }
    }

    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        self.run(Operation::Get, key, self.inner.get(key)).await
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.run(Operation::GetRange, key, self.inner.get_range(key, range)).await
    }

    async fn size(&self, key: &str) -> Result<u64, StoreError> {
        self.run(Operation::Size, key, self.inner.size(key)).await
    }

    /// Counts as [`Operation::Size`].
    async fn modified(&self, key: &str) -> Result<Option<SystemTime>, StoreError> {
        self.run(Operation::Size, key, self.inner.modified(key)).await
    }

    fn lists_at_once(&self) -> bool {
        self.inner.lists_at_once()
    }

    async fn list(&self, prefix: &str) -> Result<Vec<Object>, StoreError> {
        self.run(Operation::List, prefix, self.inner.list(prefix)).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.run(Operation::Delete, key, self.inner.delete(key)).await
    }

    fn location(&self) -> String {
        self.inner.location()
    }
}
