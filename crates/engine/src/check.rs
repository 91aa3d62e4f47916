//! The repository's integrity for those who run it by a schedule: the structure, and a part of the data each time.

use std::sync::Arc;

use basekeep_repository::Repository;
pub use basekeep_repository::Subset;

use crate::config::size;
use crate::verify::{self, VerifyOptions, VerifyReport};
use crate::{EngineError, Interrupt, Observer};

/// Checks config, keys, snapshots, index, trees and the list of packs; and reads the packs of `data`.
///
/// Damage is in the report; an error means that checking could not go on.
pub async fn check(
    repository: &Repository,
    data: Option<Subset>,
    observer: Arc<dyn Observer>,
    interrupt: &Interrupt,
) -> Result<VerifyReport, EngineError> {
    let options = VerifyOptions { snapshot: None, read_data: data.is_some() };
    verify::verify_subset(repository, &options, data.unwrap_or_default(), observer, interrupt).await
}

/// Reads `5%`, `2/7` or `500M`.
pub fn subset(text: &str) -> Result<Subset, String> {
    let wrong = || {
        format!(
            "'{}' is no part of the data: write 5%, 2/7 (the second of seven groups) or 500M",
            text.escape_debug()
        )
    };
    if let Some(percent) = text.strip_suffix('%') {
        return match percent.trim_end().parse::<f64>() {
            Ok(number) if number > 0.0 && number <= 100.0 => Ok(Subset::Percent(number)),
            _ => Err(wrong()),
        };
    }
    if let Some((number, of)) = text.split_once('/') {
        return match (number.parse(), of.parse()) {
            (Ok(number), Ok(of)) if (1..=of).contains(&number) && of <= 256 => {
                Ok(Subset::Group { number, of })
            }
            _ => Err(wrong()),
        };
    }
    match size(text) {
        Ok(bytes) if bytes > 0 => Ok(Subset::Bytes(bytes)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_the_data_are_read_as_restic_writes_them() {
        assert_eq!(subset("5%"), Ok(Subset::Percent(5.0)));
        assert_eq!(subset("0.5%"), Ok(Subset::Percent(0.5)));
        assert_eq!(subset("2/7"), Ok(Subset::Group { number: 2, of: 7 }));
        assert_eq!(subset("500M"), Ok(Subset::Bytes(500 << 20)));
        for text in ["", "0%", "101%", "0/7", "8/7", "1/257", "1/x", "0", "some", "-1%", "NaN%"] {
            assert!(subset(text).is_err(), "{text}");
        }
    }
}
