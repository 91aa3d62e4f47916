//! An error or notice as the server reports it.

use super::ErrorClass;
use std::fmt;

/// An ErrorResponse or NoticeResponse of the server. It displays as message and SQLSTATE. Detail, context and values that
/// the message quotes may come from rows: neither `Display` nor `Debug` prints them.
#[derive(Clone, Default)]
pub struct ServerError {
    /// `ERROR`, `FATAL`, `PANIC`, or a notice's level; never translated.
    pub severity: String,
    /// SQLSTATE.
    pub code: String,
    /// The primary message, as sent. May quote row values.
    pub message: String,
    /// May hold row values.
    pub detail: Option<String>,
    /// The server's hint.
    pub hint: Option<String>,
    /// Position in the statement, in characters from 1.
    pub position: Option<u32>,
    /// Call stack; may hold row values.
    pub context: Option<String>,
    /// Schema of the object.
    pub schema: Option<String>,
    /// Table of the object.
    pub table: Option<String>,
    /// Column of the object.
    pub column: Option<String>,
    /// Data type of the object.
    pub data_type: Option<String>,
    /// Constraint.
    pub constraint: Option<String>,
    /// C function that reported it.
    pub routine: Option<String>,
    /// The password file that a refused password came from.
    pub(crate) password_file: Option<String>,
}

impl ServerError {
    /// Whether the server closes the connection after it.
    pub fn is_fatal(&self) -> bool {
        matches!(self.severity.as_str(), "FATAL" | "PANIC")
    }

    /// The message without quoted values, where it may quote one.
    pub fn safe_message(&self) -> String {
        // Class 22, data exceptions, quotes the offending value; its "bad copy file format" names columns only.
        if !self.code.starts_with("22") || self.code == "22P04" {
            return self.message.clone();
        }
        let quotes = ['"', '«', '»', '„', '“', '”', '‹', '›', '「', '」'];
        match (self.message.find(quotes), self.message.rfind(quotes)) {
            (Some(first), Some(last)) => format!("{}\"…{}", &self.message[..first], &self.message[last..]),
            _ => self.message.clone(),
        }
    }

    pub(super) fn class(&self) -> ErrorClass {
        match self.code.as_str() {
            // Shutdown, crash, idle timeouts: whoever comes again finds a server.
            "57P01" | "57P02" | "57P05" | "25P03" | "25P04" => ErrorClass::LostConnection,
            // Starting up, no free connection.
            "57P03" | "53300" => ErrorClass::Unreachable,
            "42501" => ErrorClass::Denied,
            "3D000" if self.is_fatal() => ErrorClass::Usage,
            code if code.starts_with("28") => ErrorClass::Authentication,
            code if code.starts_with("08") => ErrorClass::LostConnection,
            _ => ErrorClass::Server,
        }
    }
}

impl std::error::Error for ServerError {}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (SQLSTATE {})", self.safe_message(), self.code)
    }
}

impl fmt::Debug for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerError({}: {self})", self.severity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_from_rows_are_not_printed() {
        let error = ServerError {
            severity: "ERROR".into(),
            code: "22P02".into(),
            message: "invalid input syntax for type integer: \"hunter2\"".into(),
            detail: Some("Key (a)=(hunter2)".into()),
            context: Some("COPY t, line 1, column a: \"hunter2\"".into()),
            ..ServerError::default()
        };
        assert_eq!(error.to_string(), "invalid input syntax for type integer: \"…\" (SQLSTATE 22P02)");
        assert!(!format!("{error:?}").contains("hunter2"));
        let german =
            ServerError { message: "ungültiger Wert »hunter2« für «hunter2»!".into(), ..error.clone() };
        assert!(!german.to_string().contains("hunter2"));
        let names =
            ServerError { code: "42P01".into(), message: "relation \"t\" does not exist".into(), ..error };
        assert_eq!(names.to_string(), "relation \"t\" does not exist (SQLSTATE 42P01)");
    }
}
