//! Sorted rows in temporary files that have no name, and merging them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, Write};

use super::shape::Of;
use crate::EngineError;

/// Rows of one side with one hash. The order of the fields is the order of the files.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Record {
    pub(super) key: Vec<u8>,
    pub(super) hash: u128,
    pub(super) of: Of,
    pub(super) count: u64,
    pub(super) line: Box<[u8]>,
}

/// A file of sorted records. It goes away with the process, however that ends.
pub(super) struct Run(BufReader<File>);

fn failed(error: std::io::Error) -> EngineError {
    EngineError::failed(format!("cannot keep rows in a temporary file: {error}"))
        .hint("set TMPDIR to a folder with more room, or compare fewer tables with --table")
        .caused_by(error)
}

/// A file that is being written.
pub(super) struct Writer(BufWriter<File>);

impl Writer {
    pub(super) fn new() -> Result<Self, EngineError> {
        Ok(Self(BufWriter::with_capacity(1 << 20, tempfile::tempfile().map_err(failed)?)))
    }

    /// The caller gives the records in their order.
    pub(super) fn push(&mut self, record: &Record) -> Result<(), EngineError> {
        let out = &mut self.0;
        let mut write = || -> std::io::Result<()> {
            out.write_all(&(record.key.len() as u64).to_le_bytes())?;
            out.write_all(&(record.line.len() as u64).to_le_bytes())?;
            out.write_all(&record.count.to_le_bytes())?;
            out.write_all(&record.hash.to_le_bytes())?;
            out.write_all(&[record.of as u8])?;
            out.write_all(&record.key)?;
            out.write_all(&record.line)
        };
        write().map_err(failed)
    }

    pub(super) fn finish(self) -> Result<Run, EngineError> {
        let file = self.0.into_inner().map_err(std::io::IntoInnerError::into_error);
        let mut file = file.map_err(failed)?;
        file.rewind().map_err(failed)?;
        Ok(Run(BufReader::with_capacity(256 << 10, file)))
    }
}

impl Run {
    fn next(&mut self) -> Result<Option<Record>, EngineError> {
        use std::io::BufRead;
        if self.0.fill_buf().map_err(failed)?.is_empty() {
            return Ok(None);
        }
        let mut read = || -> std::io::Result<Record> {
            let file = &mut self.0;
            let (key, line) = (number(file)?, number(file)?);
            let count = number(file)?;
            let mut hash = [0; 16];
            file.read_exact(&mut hash)?;
            let mut of = [0];
            file.read_exact(&mut of)?;
            let mut bytes = |length: u64| {
                let mut bytes = vec![0; usize::try_from(length).map_err(std::io::Error::other)?];
                file.read_exact(&mut bytes).map(|()| bytes)
            };
            let (key, line) = (bytes(key)?, bytes(line)?.into_boxed_slice());
            let of = if of == [0] { Of::A } else { Of::B };
            Ok(Record { key, hash: u128::from_le_bytes(hash), of, count, line })
        };
        read().map(Some).map_err(failed)
    }
}

fn number(from: &mut impl Read) -> std::io::Result<u64> {
    let mut bytes = [0; 8];
    from.read_exact(&mut bytes).map(|()| u64::from_le_bytes(bytes))
}

/// All records of the files and of `last`, which is sorted too, in their order.
pub(super) fn merge(
    mut runs: Vec<Run>,
    last: Vec<Record>,
    mut each: impl FnMut(Record) -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    let mut last = last.into_iter();
    let mut first: BinaryHeap<Reverse<(Record, usize)>> = BinaryHeap::new();
    for (number, run) in runs.iter_mut().enumerate() {
        first.extend(run.next()?.map(|record| Reverse((record, number))));
    }
    let in_memory = runs.len();
    first.extend(last.next().map(|record| Reverse((record, in_memory))));
    while let Some(Reverse((record, number))) = first.pop() {
        each(record)?;
        let next = match runs.get_mut(number) {
            Some(run) => run.next()?,
            None => last.next(),
        };
        first.extend(next.map(|record| Reverse((record, number))));
    }
    Ok(())
}
