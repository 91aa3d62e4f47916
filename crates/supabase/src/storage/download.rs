//! A file on its way here: streamed, and taken up where it was cut off.

use bytes::Bytes;
use reqwest::{Response, StatusCode};

use super::client::download_facts;
use super::error::{ErrorKind, StorageError};
use super::http::{Pauses, in_time};
use super::{FileFacts, Files};

/// A file that is being fetched.
#[derive(Debug)]
pub struct Download {
    files: Files,
    bucket: String,
    name: String,
    facts: FileFacts,
    /// The running answer.
    body: Option<Response>,
    /// Bytes given so far.
    offset: u64,
    /// Bytes of the running answer that were given before.
    skip: u64,
    pauses: Pauses,
}

impl Download {
    pub(super) async fn begin(files: Files, bucket: &str, name: &str) -> Result<Self, StorageError> {
        let mut pauses = Pauses::new(files.patience());
        let response = loop {
            match files.open(bucket, name, None).await {
                Ok(response) => break response,
                Err(error) => pauses.wait(error).await?,
            }
        };
        Ok(Self {
            facts: download_facts(&response),
            body: Some(response),
            offset: 0,
            skip: 0,
            bucket: bucket.to_owned(),
            name: name.to_owned(),
            files,
            pauses,
        })
    }

    /// What the service said when the download began.
    pub fn facts(&self) -> &FileFacts {
        &self.facts
    }

    /// The next piece; `None` at the end, when all bytes that the service promised have come.
    ///
    /// Errors: kind `Changed` if the file was replaced meanwhile; what it fails with after all attempts.
    pub async fn next(&mut self) -> Result<Option<Bytes>, StorageError> {
        loop {
            match self.attempt().await {
                Ok(piece) => return Ok(piece),
                Err(error) => {
                    self.body = None;
                    self.pauses.wait(error).await?;
                }
            }
        }
    }

    async fn attempt(&mut self) -> Result<Option<Bytes>, StorageError> {
        let stall = self.files.patience().stall;
        if self.body.is_none() {
            self.reopen().await?;
        }
        while let Some(body) = &mut self.body {
            let Some(mut piece) = in_time(stall, body.chunk()).await? else { break };
            let known = self.skip.min(piece.len() as u64);
            self.skip -= known;
            let piece = piece.split_off(usize::try_from(known).unwrap_or(piece.len()));
            if piece.is_empty() {
                continue;
            }
            self.offset += piece.len() as u64;
            self.pauses.moved();
            return Ok(Some(piece));
        }
        match self.facts.size {
            Some(size) if self.offset < size => {
                let message = format!("the answer ended after {} of {size} bytes", self.offset);
                Err(StorageError::new(ErrorKind::Transient, message))
            }
            Some(size) if self.offset > size => {
                let message = format!("{} bytes came in place of {size}", self.offset);
                Err(StorageError::new(ErrorKind::Changed, message))
            }
            _ => Ok(None),
        }
    }

    /// Goes on where the last answer was cut off.
    async fn reopen(&mut self) -> Result<(), StorageError> {
        if self.facts.size == Some(self.offset) {
            return Ok(());
        }
        let range = (self.offset > 0).then(|| format!("bytes={}-", self.offset));
        let response = self.files.open_from(&self.bucket, &self.name, range).await?;
        let facts = download_facts(&response);
        if facts.etag != self.facts.etag || facts.size != self.facts.size {
            return Err(StorageError::new(ErrorKind::Changed, "the file was replaced while it was read"));
        }
        // A server that does not know ranges begins again.
        self.skip = if response.status() == StatusCode::PARTIAL_CONTENT { 0 } else { self.offset };
        self.body = Some(response);
        Ok(())
    }
}
