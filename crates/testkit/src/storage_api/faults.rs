//! What goes wrong, when a test says so.

/// Something that goes wrong with requests whose method and decoded path, such as `GET /object/…`, hold a text.
#[derive(Debug, Clone)]
pub struct StorageFault {
    pub(super) matching: String,
    pub(super) times: u32,
    pub(super) what: What,
}

#[derive(Debug, Clone)]
pub(super) enum What {
    /// Answers this status.
    Status(u16, Option<u64>),
    /// Closes the connection after so many bytes of the body.
    Cut(u64),
    /// Takes so many bytes of the request's body, keeps them, and closes the connection.
    CutUpload(u64),
}

impl StorageFault {
    /// An HTTP status such as 429, `times` times; `retry_after` in seconds.
    pub fn status(matching: &str, status: u16, retry_after: Option<u64>, times: u32) -> Self {
        Self { matching: matching.to_owned(), times, what: What::Status(status, retry_after) }
    }

    /// The connection is cut after so many bytes of the answer's body, `times` times.
    pub fn cut(matching: &str, after: u64, times: u32) -> Self {
        Self { matching: matching.to_owned(), times, what: What::Cut(after) }
    }

    /// The connection is cut after so many bytes of the request's body, `times` times. A resumable upload keeps them.
    pub fn cut_upload(matching: &str, after: u64, times: u32) -> Self {
        Self { matching: matching.to_owned(), times, what: What::CutUpload(after) }
    }
}
