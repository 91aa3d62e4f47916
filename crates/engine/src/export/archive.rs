//! Archives for pg_restore: a folder as pg_dump's directory format has it, or one file in its custom format.

use std::io::Write;

use basekeep_archive::{Archive, Entry, Format as ArchiveFormat, OffsetState, Storage, TABLE_DATA_END};
use basekeep_postgres::Digest;
use flate2::write::ZlibEncoder;

use super::job::{Job, Sums};
use super::place::Place;
use super::{Compression, Counts, Halves, Sink, large_objects};
use crate::EngineError;

/// The folder of the directory format.
pub(super) const AREA: &str = "database/";
const TOC: &str = "database/toc.dat";
/// Bytes of a piece of data in the custom format.
const PIECE: usize = 64 << 10;
const BLOCK_OF_DATA: u8 = 1;
const BLOCK_OF_LARGE_OBJECTS: u8 = 3;
/// The version of the format that knows more than zlib: 1.15, of pg_dump 16.
const OTHER_COMPRESSION: (u8, u8) = (1, 15);

/// The part of the snapshot's archive that the export wants.
fn chosen(job: &Job<'_>) -> Archive {
    let settings =
        |entry: &Entry| matches!(entry.desc.as_slice(), b"ENCODING" | b"STDSTRINGS" | b"SEARCHPATH");
    let wanted = |entry: &Entry| {
        settings(entry)
            || job.wants(entry)
                && match job.options.halves {
                    Halves::Both => true,
                    Halves::Definitions => !entry.is_data(),
                    Halves::Data => entry.is_data(),
                }
    };
    let archive = &job.contents.archive;
    let entries = archive.entries.iter().filter(|entry| wanted(entry)).cloned().collect();
    Archive { header: archive.header.clone(), entries }
}

/// Writes the directory format. The table of contents goes first and comes last, so that a folder which is not complete is
/// no archive.
pub(super) async fn directory(job: &Job<'_>, place: &mut Place) -> Result<Sums, EngineError> {
    let archive = chosen(job);
    let compression = job.options.compression;
    if let Some(folder) = place.folder() {
        folder.remove(TOC)?;
    }
    let mut sums = Sums::default();
    let mut objects = Digest::default();
    for entry in &archive.entries {
        let Some(file) = entry.data_file() else { continue };
        let name = format!("{AREA}{file}{}", compression.suffix());
        if entry.desc == "BLOBS" {
            let mut list = String::new();
            for object in large_objects::of_entry(job, entry).await? {
                list.push_str(&format!("{} {}\n", object.oid, object.file));
                let name = format!("{AREA}{}{}", object.file, compression.suffix());
                let mut sink = place.begin_as(&name, compression, false)?;
                objects += large_objects::read(job, &object, &mut sink).await?;
                place.end(&name, sink).await?;
            }
            // Which is read as plain text by the older releases.
            let name = format!("{AREA}{file}");
            let mut sink = place.begin(&name, Compression::None)?;
            sink.write(list.as_bytes()).await?;
            place.end(&name, sink).await?;
        } else {
            let mut sink = place.begin(&name, compression)?;
            sums.add(rows(job, entry, &mut sink).await?);
            place.end(&name, sink).await?;
        }
    }
    large_objects::check(job, objects)?;
    let mut sink = place.begin(TOC, Compression::None)?;
    sink.write(&archive.to_bytes()).await?;
    place.end(TOC, sink).await?;
    if let Some(folder) = place.folder() {
        folder.remove_stale(AREA)?;
    }
    Ok(sums)
}

/// Writes the custom format, as pg_dump does into a pipe: readers find the data by reading on.
pub(super) async fn custom(job: &Job<'_>, sink: &mut dyn Sink) -> Result<Sums, EngineError> {
    let mut archive = chosen(job);
    let version = (archive.header.version.major, archive.header.version.minor);
    let newer = version >= OTHER_COMPRESSION;
    archive.header.format = ArchiveFormat::Custom;
    archive.header.compression = match job.options.compression {
        Compression::None => 0,
        Compression::Gzip if newer => 1,
        Compression::Gzip => -1,
        Compression::Zstd if newer => 3,
        Compression::Zstd => {
            return Err(EngineError::usage(
                "a dump of this version of pg_dump cannot be compressed with zstd",
            )
            .hint("use --compress gzip"));
        }
    };
    let with_data: Vec<(usize, bool)> = archive
        .entries
        .iter()
        .enumerate()
        .filter(|(_, entry)| entry.data_file().is_some())
        .map(|(index, entry)| (index, entry.desc == "BLOBS"))
        .collect();
    let sources: Vec<Entry> = with_data.iter().map(|(index, _)| archive.entries[*index].clone()).collect();
    for entry in &mut archive.entries {
        let state = if entry.data_file().is_some() { OffsetState::NotSet } else { OffsetState::NoData };
        entry.storage = Storage::Custom { state, offset: 0 };
    }
    sink.write(&archive.to_bytes()).await?;
    let int_size = archive.header.int_size;
    let mut sums = Sums::default();
    let mut objects = Digest::default();
    for (entry, (_, is_objects)) in sources.iter().zip(with_data) {
        let kind = if is_objects { BLOCK_OF_LARGE_OBJECTS } else { BLOCK_OF_DATA };
        sink.write(&[kind]).await?;
        sink.write(&int(entry.dump_id.unsigned_abs(), int_size)).await?;
        if is_objects {
            for object in large_objects::of_entry(job, entry).await? {
                sink.write(&int(object.oid, int_size)).await?;
                let mut pieces = Pieces::new(sink, int_size, job.options.compression)?;
                objects += large_objects::read(job, &object, &mut pieces).await?;
                pieces.finish().await?;
            }
            sink.write(&int(0, int_size)).await?;
        } else {
            let mut pieces = Pieces::new(sink, int_size, job.options.compression)?;
            sums.add(rows(job, entry, &mut pieces).await?);
            pieces.finish().await?;
        }
    }
    large_objects::check(job, objects)?;
    Ok(sums)
}

/// A table's data file: rows and their end mark.
async fn rows(job: &Job<'_>, entry: &Entry, sink: &mut dyn Sink) -> Result<Counts, EngineError> {
    let source = job
        .table(entry.dump_id)
        .ok_or_else(|| EngineError::failed(format!("the manifest says nothing about {}", entry.display())))?;
    let counts = super::rows::plain(job, &source, sink).await?;
    sink.write(TABLE_DATA_END).await?;
    job.table_done();
    Ok(counts)
}

/// An integer as archives have them: a byte for the sign, then the bytes from the lowest on.
fn int(value: u32, size: u8) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend(u64::from(value).to_le_bytes().iter().take(usize::from(size)));
    bytes
}

/// The data of one entry in the custom format: pieces with their lengths, and an empty one at the end.
struct Pieces<'a> {
    sink: &'a mut dyn Sink,
    int_size: u8,
    packer: Packer,
}

/// What is compressed and not written yet.
enum Packer {
    Plain(Vec<u8>),
    Zlib(ZlibEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl<'a> Pieces<'a> {
    fn new(sink: &'a mut dyn Sink, int_size: u8, compression: Compression) -> Result<Self, EngineError> {
        let packer = match compression {
            Compression::None => Packer::Plain(Vec::new()),
            Compression::Gzip => Packer::Zlib(ZlibEncoder::new(Vec::new(), flate2::Compression::fast())),
            Compression::Zstd => {
                Packer::Zstd(zstd::stream::write::Encoder::new(Vec::new(), 3).map_err(compressing)?)
            }
        };
        Ok(Self { sink, int_size, packer })
    }

    async fn pass_on(&mut self, bytes: &[u8]) -> Result<(), EngineError> {
        for piece in bytes.chunks(PIECE) {
            let length = u32::try_from(piece.len()).unwrap_or_default();
            self.sink.write(&int(length, self.int_size)).await?;
            self.sink.write(piece).await?;
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<(), EngineError> {
        let rest = match std::mem::replace(&mut self.packer, Packer::Plain(Vec::new())) {
            Packer::Plain(bytes) => bytes,
            Packer::Zlib(encoder) => encoder.finish().map_err(compressing)?,
            Packer::Zstd(encoder) => encoder.finish().map_err(compressing)?,
        };
        self.pass_on(&rest).await?;
        self.sink.write(&int(0, self.int_size)).await
    }
}

#[async_trait::async_trait]
impl Sink for Pieces<'_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<(), EngineError> {
        let full = match &mut self.packer {
            Packer::Plain(held) => {
                held.extend_from_slice(bytes);
                if held.len() < PIECE { Vec::new() } else { std::mem::take(held) }
            }
            Packer::Zlib(encoder) => {
                encoder.write_all(bytes).map_err(compressing)?;
                taken(encoder.get_mut())
            }
            Packer::Zstd(encoder) => {
                encoder.write_all(bytes).map_err(compressing)?;
                taken(encoder.get_mut())
            }
        };
        self.pass_on(&full).await
    }
}

fn taken(held: &mut Vec<u8>) -> Vec<u8> {
    if held.len() < PIECE { Vec::new() } else { std::mem::take(held) }
}

fn compressing(error: std::io::Error) -> EngineError {
    EngineError::failed("compress rows").caused_by(error)
}
