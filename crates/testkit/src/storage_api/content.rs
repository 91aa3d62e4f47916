//! What a stored file holds: bytes, or a pattern of any size that takes no memory.

/// A file's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredContent {
    /// As they are.
    Bytes(Vec<u8>),
    /// A pattern that does not repeat: it takes no memory and does not compress.
    Pattern {
        /// Bytes.
        size: u64,
        /// Another seed is another pattern.
        seed: u64,
    },
}

impl From<Vec<u8>> for StoredContent {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<&str> for StoredContent {
    fn from(text: &str) -> Self {
        Self::Bytes(text.as_bytes().to_vec())
    }
}

impl StoredContent {
    /// Bytes in all.
    pub fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Pattern { size, .. } => *size,
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A part of it.
    pub fn part(&self, start: u64, length: usize) -> Vec<u8> {
        let end = (start + length as u64).min(self.len());
        match self {
            Self::Bytes(bytes) => bytes[start as usize..end as usize].to_vec(),
            Self::Pattern { seed, .. } => {
                let (first, last) = (start / 8, end.div_ceil(8));
                let mut bytes = Vec::with_capacity(((last - first) * 8) as usize);
                for word in first..last {
                    bytes.extend_from_slice(&mixed(word ^ (seed << 40)).to_le_bytes());
                }
                bytes.truncate((end - first * 8) as usize);
                bytes.drain(..(start - first * 8) as usize);
                bytes
            }
        }
    }

    /// An entity tag, with quotes.
    pub(super) fn etag(&self) -> String {
        let hash = match self {
            Self::Pattern { size, seed } => mixed(size ^ mixed(*seed)),
            Self::Bytes(bytes) => {
                bytes.iter().fold(bytes.len() as u64, |hash, byte| mixed(hash ^ u64::from(*byte)))
            }
        };
        format!("\"{:016x}{:016x}\"", hash, mixed(hash))
    }
}

/// splitmix64.
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
