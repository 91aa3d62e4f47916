//! The encoding of JSON files (index, snapshots, locks): one byte of version and zstd, or plain JSON as format
//! version 1 has it (restic's design document, "Unpacked Data Format").

use std::io::Read;

use crate::compression::LARGEST;
use crate::{RepositoryError, Result};

const VERSION_ZSTD: u8 = 2;
const LEVEL: i32 = 3;

/// Encodes for format version 2.
pub(crate) fn encode(json: &[u8]) -> Result<Vec<u8>> {
    let packed = zstd::bulk::compress(json, LEVEL).map_err(|e| RepositoryError::internal("compress", e))?;
    let mut encoded = Vec::with_capacity(packed.len() + 1);
    encoded.push(VERSION_ZSTD);
    encoded.extend_from_slice(&packed);
    Ok(encoded)
}

/// Gives the JSON document back.
pub(crate) fn decode(encoded: Vec<u8>) -> Result<Vec<u8>, String> {
    match encoded.first() {
        Some(b'{' | b'[') => Ok(encoded),
        Some(&VERSION_ZSTD) => {
            let unreadable = |e| format!("it does not decompress: {e}");
            let mut json = Vec::new();
            zstd::stream::read::Decoder::new(&encoded[1..])
                .map_err(unreadable)?
                .take(LARGEST as u64 + 1)
                .read_to_end(&mut json)
                .map_err(unreadable)?;
            if json.len() > LARGEST { Err(format!("it is larger than {LARGEST} bytes")) } else { Ok(json) }
        }
        Some(other) => Err(format!("encoding version {other} is not known")),
        None => Err("it is empty".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_encodings_are_read_and_others_refused() {
        let json = br#"{"a":1}"#.to_vec();
        assert_eq!(decode(encode(&json).unwrap()).unwrap(), json);
        assert_eq!(decode(json.clone()).unwrap(), json);
        assert!(decode(vec![]).is_err());
        assert!(decode(vec![3, 1]).is_err());
        assert!(decode(vec![2, 1, 2, 3]).is_err());
    }
}
