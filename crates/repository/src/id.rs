//! Ids: SHA-256 of content, 32 bytes, written as 64 hexadecimal digits.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::RepositoryError;

pub(crate) fn sha256(data: &[u8]) -> [u8; 32] {
    Sha256::digest(data).into()
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name([u8; 32]);

        impl $name {
            /// The id with these bytes.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// The id's bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// The id of this content.
            pub fn of(content: &[u8]) -> Self {
                Self(sha256(content))
            }

            /// The first eight digits, as restic shows ids.
            pub fn short(&self) -> String {
                hex::encode(&self.0[..4])
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut digits = [0; 64];
                hex::encode_to_slice(self.0, &mut digits).map_err(|_| fmt::Error)?;
                f.pad(std::str::from_utf8(&digits).map_err(|_| fmt::Error)?)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.short())
            }
        }

        impl FromStr for $name {
            type Err = RepositoryError;

            /// Takes exactly 64 lower-case hexadecimal digits.
            fn from_str(text: &str) -> Result<Self, RepositoryError> {
                let mut bytes = [0; 32];
                if text.bytes().any(|c| c.is_ascii_uppercase()) || hex::decode_to_slice(text, &mut bytes).is_err() {
                    return Err(RepositoryError::InvalidId(text.chars().take(80).collect()));
                }
                Ok(Self(bytes))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut digits = [0; 64];
                hex::encode_to_slice(self.0, &mut digits).map_err(serde::ser::Error::custom)?;
                serializer.serialize_str(std::str::from_utf8(&digits).map_err(serde::ser::Error::custom)?)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Digits;
                impl serde::de::Visitor<'_> for Digits {
                    type Value = $name;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("64 hexadecimal digits")
                    }
                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                }
                deserializer.deserialize_str(Digits)
            }
        }
    };
}

id! {
    /// A blob: a chunk of a file, or a tree. The hash is that of its plain content.
    BlobId
}
id! {
    /// A tree, which is a blob too.
    TreeId
}
id! {
    /// A snapshot file.
    SnapshotId
}
id! {
    /// A pack file.
    PackId
}
id! {
    /// A key file.
    KeyId
}

impl From<TreeId> for BlobId {
    fn from(id: TreeId) -> Self {
        Self::from_bytes(*id.as_bytes())
    }
}

impl From<BlobId> for TreeId {
    fn from(id: BlobId) -> Self {
        Self::from_bytes(*id.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_go_through_text_and_refuse_anything_else() {
        let id = BlobId::of(b"abc");
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(id.to_string(), text);
        assert_eq!(text.parse::<BlobId>().unwrap(), id);
        assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{text}\""));
        assert_eq!(serde_json::from_str::<BlobId>(&format!("\"{text}\"")).unwrap(), id);
        for bad in ["", "ba78", &text.to_uppercase(), &text.replace('b', "g"), &format!("{text}00")] {
            assert!(bad.parse::<BlobId>().is_err(), "{bad}");
        }
    }
}
