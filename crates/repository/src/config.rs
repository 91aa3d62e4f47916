//! The repository's `config`.

use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::polynomial;

/// What `config` says. Other fields are stock restic's business and are never written.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Config {
    pub(crate) version: u32,
    pub(crate) id: String,
    #[serde(with = "polynomial_digits")]
    pub(crate) chunker_polynomial: u64,
}

impl Config {
    pub(crate) fn random() -> Self {
        let mut id = [0; 32];
        rand::rng().fill_bytes(&mut id);
        Self { version: 2, id: hex::encode(id), chunker_polynomial: polynomial::random() }
    }

    /// Reads the JSON and refuses what cannot be a repository of version 1 or 2.
    pub(crate) fn decode(json: &[u8]) -> Result<Self, String> {
        let config: Self = serde_json::from_slice(json).map_err(|e| format!("not a config: {e}"))?;
        if !polynomial::is_irreducible(config.chunker_polynomial) {
            return Err("its chunker polynomial is not irreducible".to_owned());
        }
        Ok(config)
    }
}

mod polynomial_digits {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(polynomial: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{polynomial:x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let digits = String::deserialize(deserializer)?;
        u64::from_str_radix(&digits, 16).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_config_of_the_design_document_is_read_and_ours_comes_back() {
        let json = br#"{"version":2,"id":"5956a3f67a6230d4a92cefb29529f10196c7d92582ec305fd71ff6d331d6271b",
            "chunker_polynomial":"25b468838dcb75"}"#;
        let config = Config::decode(json).unwrap();
        assert_eq!((config.version, config.chunker_polynomial), (2, 0x0025_b468_838d_cb75));
        let ours = Config::random();
        let read = Config::decode(&serde_json::to_vec(&ours).unwrap()).unwrap();
        assert_eq!((read.id, read.chunker_polynomial), (ours.id, ours.chunker_polynomial));
        assert!(Config::decode(br#"{"version":2,"id":"x","chunker_polynomial":"10"}"#).is_err());
    }
}
