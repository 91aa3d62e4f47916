//! HTTP/1.1 by hand: requests are read whole, answers are streamed.

use std::collections::HashMap;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::content::StoredContent;
use super::faults::What;
use super::{Shared, StorageRequest, handlers, lock};

const PIECE: usize = 256 << 10;

/// A request.
pub(super) struct Request {
    pub(super) method: String,
    /// Decoded, below `/storage/v1`.
    pub(super) path: String,
    pub(super) headers: HashMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// An answer.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) content: StoredContent,
    /// Of the content, first byte and the one after the last.
    pub(super) range: (u64, u64),
}

impl Answer {
    pub(super) fn new(status: u16, body: String) -> Self {
        let content = StoredContent::Bytes(body.into_bytes());
        Self { status, headers: Vec::new(), range: (0, content.len()), content }
    }
}

pub(super) async fn connection(stream: TcpStream, shared: &Shared) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let mut words = line.split_whitespace();
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut headers = HashMap::new();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.ok()?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            headers.insert(name.to_lowercase(), value.trim().to_owned());
        }
        let path = decoded(target.split('?').next()?);
        let path = path.strip_prefix("/storage/v1").unwrap_or(&path).to_owned();
        lock(&shared.requests).push(StorageRequest {
            method: method.clone(),
            path: path.clone(),
            range: headers.get("range").cloned(),
        });
        let fault = fault(shared, &format!("{method} {path}"));
        let length: u64 = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        let wanted = match fault {
            Some(What::CutUpload(after)) => length.min(after),
            _ => length,
        };
        let mut body = vec![0; wanted as usize];
        stream.read_exact(&mut body).await.ok()?;
        let request = Request { method, path, headers, body };
        let answer = match fault {
            Some(What::CutUpload(_)) => {
                handlers::cut_off(shared, &request);
                return None;
            }
            Some(What::Status(status, retry_after)) => {
                let mut answer =
                    Answer::new(status, r#"{"statusCode":"","error":"fault","message":"as told"}"#.into());
                answer.headers.extend(retry_after.map(|seconds| ("retry-after", seconds.to_string())));
                answer
            }
            _ => handlers::answer(shared, request.method.as_str(), &request).await,
        };
        let cut = if let Some(What::Cut(after)) = fault { Some(after) } else { None };
        send(&mut stream, &request, answer, cut).await?;
    }
}

fn fault(shared: &Shared, request: &str) -> Option<What> {
    let mut faults = lock(&shared.faults);
    let fault = faults.iter_mut().find(|fault| fault.times > 0 && request.contains(&fault.matching))?;
    fault.times -= 1;
    Some(fault.what.clone())
}

async fn send(
    stream: &mut BufReader<TcpStream>,
    request: &Request,
    answer: Answer,
    cut: Option<u64>,
) -> Option<()> {
    let (start, end) = answer.range;
    let mut head = format!("HTTP/1.1 {} X\r\ncontent-length: {}\r\n", answer.status, end - start);
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).await.ok()?;
    if request.method == "HEAD" {
        return Some(());
    }
    let last = cut.map_or(end, |after| end.min(start + after));
    let mut at = start;
    while at < last {
        let piece = answer.content.part(at, PIECE.min((last - at) as usize));
        stream.write_all(&piece).await.ok()?;
        at += piece.len() as u64;
    }
    stream.flush().await.ok()?;
    (last == end).then_some(())
}

pub(super) fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(out).expect("a path is UTF-8")
}
