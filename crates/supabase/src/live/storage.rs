//! Buckets and what is known of their files, and whether policies stand between files and the roles of the API.

use basekeep_postgres::{Client, Error, ErrorClass, quote_literal};

use super::{Expected, Found, Verdict, counted, exists};

pub(super) async fn buckets(client: &mut Client, expected: &Expected) -> Found {
    if !exists(client, "storage.buckets").await? {
        return Ok(Verdict::not_applicable("there is no table storage.buckets"));
    }
    let sql = "SELECT (SELECT count(*) FROM storage.buckets), (SELECT count(*) FROM storage.objects)";
    let rows = client.query(sql).await?;
    let (buckets, objects) = (rows.one()?.parse::<u64>(0)?, rows.one()?.parse::<u64>(1)?);
    let mut problems = Vec::new();
    for (what, found) in [("buckets", buckets), ("objects", objects)] {
        if let Some(rows) = expected.rows("storage", what).filter(|rows| *rows > 0 && found == 0) {
            problems
                .push(format!("storage.{what} is empty, the backup has {}", counted(rows, "row", "rows")));
        }
    }
    let at = format!("{}, {}", counted(buckets, "bucket", "buckets"), counted(objects, "file", "files"));
    Ok(Verdict::looked(format!("{at} by their rows; the files themselves are not fetched"), problems))
}

pub(super) async fn policies(client: &mut Client, expected: &Expected) -> Found {
    if !exists(client, "storage.objects").await? {
        return Ok(Verdict::not_applicable("there is no table storage.objects"));
    }
    let mut problems = Vec::new();
    let sql = "SELECT c.relname FROM pg_catalog.pg_class AS c
               WHERE c.oid IN ('storage.objects'::regclass, 'storage.buckets'::regclass) AND NOT c.relrowsecurity";
    for row in client.query(sql).await?.iter() {
        problems.push(format!("row level security is off on storage.{}", row.get(0).unwrap_or_default()));
    }
    let there = super::security::policies(client).await?;
    let wanted = expected.policies.iter().filter(|(schema, ..)| schema == "storage");
    for policy in wanted.filter(|policy| !there.contains(*policy)) {
        problems.push(format!("the policy {:?} on storage.{} is missing", policy.2, policy.1));
    }

    let count = there.iter().filter(|(schema, ..)| schema == "storage").count() as u64;
    let mut at = counted(count, "policy", "policies");
    let rows = client.query("SELECT count(*) FROM storage.objects").await?;
    let all = rows.one()?.parse::<u64>(0)?;
    let rows = client.query("SELECT min(owner_id) FROM storage.objects WHERE owner_id <> ''").await?;
    let owner = rows.first().and_then(|row| row.get(0)).map(str::to_owned);
    let stranger = "00000000-0000-4000-8000-000000000000";
    let users = [
        ("anon", "", "anon"),
        ("authenticated", stranger, "a user without files"),
        ("authenticated", owner.as_deref().unwrap_or_default(), "an owner"),
    ];
    for (role, subject, called) in users {
        if called == "an owner" && owner.is_none() {
            continue;
        }
        match seen_by(client, role, subject).await {
            Ok(seen) => at += &format!(", {called} sees {seen} of {all} files"),
            Err(Seen::Unable(why)) => at += &format!(", not tried as {role}: {why}"),
            Err(Seen::Failed(error)) => problems.push(format!("as {called}: {}", super::refusal(error)?)),
        }
    }
    Ok(Verdict::looked(at, problems))
}

enum Seen {
    /// The connecting role may not act as that role.
    Unable(String),
    Failed(Error),
}

impl From<Error> for Seen {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// How many files a role of the API sees, with the claims that its token would have.
async fn seen_by(client: &mut Client, role: &str, subject: &str) -> Result<u64, Seen> {
    client.execute("BEGIN TRANSACTION READ ONLY").await?;
    let result = counting(client, role, subject).await;
    client.execute("ROLLBACK").await?;
    result
}

async fn counting(client: &mut Client, role: &str, subject: &str) -> Result<u64, Seen> {
    let claims = match subject {
        "" => format!(r#"{{"role": "{role}"}}"#),
        subject => serde_json::json!({ "role": role, "sub": subject }).to_string(),
    };
    client
        .query_all(&format!(
            "SET LOCAL row_security = on; SET LOCAL search_path = public, extensions;
             SELECT pg_catalog.set_config('request.jwt.claims', {}, true)",
            quote_literal(&claims)
        ))
        .await?;
    match client.execute(&format!("SET LOCAL ROLE {role}")).await {
        Err(error) if error.class() == ErrorClass::Denied || error.sqlstate() == Some("22023") => {
            return Err(Seen::Unable(error.to_string()));
        }
        other => other?,
    }
    let rows = client.query("SELECT count(*) FROM storage.objects").await?;
    Ok(rows.one()?.parse::<u64>(0)?)
}
