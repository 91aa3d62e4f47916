//! An export as a stream: bytes are made as fast as the browser takes them.

use std::io::{self, Write};
use std::sync::Arc;

use basekeep_engine::export::{self, Compression, ExportOptions, Format, Halves, Target};
use basekeep_engine::selection::Selection;
use basekeep_engine::{EngineError, InterruptHandle, Observer, Silent};
use basekeep_server::web::panel::{Answer, Download, ExportFormat, ExportRequest, PanelError};
use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::mpsc;

use super::{EnginePanel, apart};

/// Pieces on their way to the browser.
const WAITING: usize = 4;

type Piece = Result<Bytes, EngineError>;

impl EnginePanel {
    pub(super) async fn download(&self, request: &ExportRequest) -> Answer<Download> {
        let snapshot = self.found(&request.snapshot).await?;
        let repository = self.repository().await?;
        let (format, suffix, media_type) = form(request.format);
        let halves = if request.format.is_for_one_table() { Halves::Data } else { Halves::Both };
        // An archive is compressed inside.
        let gzip = request.gzip && request.format != ExportFormat::Dump;
        let options = ExportOptions {
            halves,
            compression: if gzip { Compression::Gzip } else { Compression::None },
            selection: Selection { tables: request.table.iter().cloned().collect(), ..Selection::default() },
            ..ExportOptions::new([format])
        };
        let table = request.table.as_deref().map(|table| format!("-{table}")).unwrap_or_default();
        let end = if gzip { ".gz" } else { "" };
        let file_name = format!("{}-{}{table}.{suffix}{end}", snapshot.hostname, snapshot.id.short());
        let (sender, mut receiver) = mpsc::channel::<Piece>(WAITING);
        // When the browser goes away, the stream and with it this handle are dropped.
        let (stop, interrupt) = InterruptHandle::new();
        tokio::spawn(apart(move || async move {
            let target = Target::Stream(Box::new(Pieces(sender.clone())));
            let observer: Arc<dyn Observer> = Arc::new(Silent);
            let work = export::export(&repository, &snapshot, &options, target, &observer, &interrupt);
            let result = work.await.and_then(|report| match report.failed.first() {
                None => Ok(()),
                Some((what, why)) => Err(EngineError::failed(format!("{what} was not exported: {why}"))),
            });
            if let Err(error) = result {
                // Nobody has to be there any more.
                let _ = sender.send(Err(error)).await;
            }
        }));
        let first = match receiver.recv().await {
            Some(Err(error)) => return Err(PanelError::Failed(error)),
            first => first,
        };
        let rest = futures::stream::unfold((receiver, stop), |(mut receiver, stop)| async move {
            let piece = receiver.recv().await?;
            Some((piece, (receiver, stop)))
        });
        let pieces = futures::stream::iter(first).chain(rest);
        let body = pieces.map(|piece| piece.map_err(|error| io::Error::other(error.to_string())));
        Ok(Download { file_name, media_type, body: body.boxed() })
    }
}

fn form(format: ExportFormat) -> (Format, &'static str, &'static str) {
    match format {
        ExportFormat::Sql => (Format::Sql, "sql", "application/sql"),
        ExportFormat::Schema => (Format::Schema, "schema.sql", "application/sql"),
        ExportFormat::Dump => (Format::Dump, "dump", "application/octet-stream"),
        ExportFormat::Csv => (Format::Csv, "csv", "text/csv; charset=utf-8"),
        ExportFormat::Jsonl => (Format::JsonLines, "jsonl", "application/x-ndjson"),
        ExportFormat::Json => (Format::Json, "json", "application/json"),
    }
}

/// Written to by the export's own thread.
struct Pieces(mpsc::Sender<Piece>);

impl Write for Pieces {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let piece = Bytes::copy_from_slice(buffer);
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the browser has gone away");
        self.0.blocking_send(Ok(piece)).map_err(gone)?;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
