//! Sequences and large objects of the restored database against the manifest.

use basekeep_postgres::{Client, Error, large_objects, quote_identifier, quote_literal};

use crate::stored::manifest::{LargeObjects, Sequence};
use crate::{EngineError, ResultExt};

/// Sequences read in one round trip.
const AT_ONCE: usize = 200;

/// Sequences whose values differ, one line each.
pub(super) async fn sequences(
    client: &mut Client,
    expected: &[Sequence],
) -> Result<Vec<String>, EngineError> {
    let mut differences = Vec::new();
    for chunk in expected.chunks(AT_ONCE) {
        match differing(client, chunk).await {
            Ok(lines) => differences.extend(lines),
            Err(Error::Server(_)) => {
                for sequence in chunk {
                    match differing(client, std::slice::from_ref(sequence)).await {
                        Ok(lines) => differences.extend(lines),
                        Err(Error::Server(error)) => differences.push(format!("{}: {error}", name(sequence))),
                        Err(error) => return Err(error).doing(|| "read a sequence"),
                    }
                }
            }
            Err(error) => return Err(error).doing(|| "read sequences"),
        }
    }
    Ok(differences)
}

fn name(sequence: &Sequence) -> String {
    format!("sequence {}.{}", sequence.schema, sequence.name)
}

async fn differing(client: &mut Client, expected: &[Sequence]) -> Result<Vec<String>, Error> {
    let selects: Vec<String> = expected
        .iter()
        .enumerate()
        .map(|(n, s)| {
            let relation = format!("{}.{}", quote_identifier(&s.schema), quote_identifier(&s.name));
            let called = if s.is_called { "true" } else { "false" };
            format!(
                "SELECT {n}, last_value, is_called FROM {relation} WHERE last_value <> {} OR is_called <> {called}",
                quote_literal(&s.last_value.to_string())
            )
        })
        .collect();
    let rows = client.query(&selects.join(" UNION ALL ")).await?;
    let mut lines = Vec::new();
    for row in rows.iter() {
        let sequence = row.get(0).and_then(|n| n.parse::<usize>().ok()).and_then(|n| expected.get(n));
        let Some(sequence) = sequence else { continue };
        lines.push(format!(
            "{}: {} (called: {}) in the backup, {} (called: {}) restored",
            name(sequence),
            sequence.last_value,
            sequence.is_called,
            row.get(1).unwrap_or_default(),
            row.get(2) == Some("t")
        ));
    }
    Ok(lines)
}

/// Whether the large objects are those of the backup; a line if not.
pub(super) async fn large_objects(
    client: &mut Client,
    expected: &LargeObjects,
) -> Result<Vec<String>, EngineError> {
    let doing = || "read the restored large objects";
    let objects = large_objects::list(client).await.doing(doing)?;
    if objects.len() as u64 != expected.count {
        return Ok(vec![format!(
            "large objects: {} in the backup, {} restored",
            expected.count,
            objects.len()
        )]);
    }
    if objects.is_empty() {
        return Ok(Vec::new());
    }
    let oids: Vec<u32> = objects.iter().map(|object| object.oid).collect();
    let digest = large_objects::digest(client, &oids).await.doing(doing)?;
    let found = format!("{:032x}", digest.sum);
    if found == expected.digest {
        return Ok(Vec::new());
    }
    Ok(vec![format!(
        "large objects: other contents (digest {} in the backup, {found} restored)",
        expected.digest
    )])
}
