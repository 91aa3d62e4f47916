//! COPY in both directions, streaming.

mod binary;
mod into_server;
mod out_of_server;

pub use binary::{BinaryColumn, BinaryRows, NotBinary};
pub use into_server::CopyIn;
pub use out_of_server::CopyOut;
