//! Whether users can log in: every password's hash is one that the service understands, and pgcrypto verifies one of its own.
//!
//! No password is known here, so no account is tried. The forms are those that supabase/auth accepts
//! (`internal/crypto/password.go`).

use basekeep_postgres::{Client, quote_identifier};

use super::{Found, Verdict, counted, exists};

/// A regular expression for each kind of hash that the service verifies.
const HASHES: &str = r"^\$2[abxy]\$[0-9]{2}\$[./A-Za-z0-9]{53}$|^\$argon2(i|id)\$v=19\$m=[0-9]+,t=[0-9]+,p=[0-9]+\$[^$]+\$[^$]+$|^\$fbscrypt\$v=[0-9]+,n=[0-9]+,r=[0-9]+,p=[0-9]+(,ss=[^,]+)?(,sk=[^$]+)?\$[^$]+\$.+$";

pub(super) async fn check(client: &mut Client) -> Found {
    if !exists(client, "auth.users").await? {
        return Ok(Verdict::not_applicable("there is no table auth.users"));
    }
    let sql = format!(
        "SELECT count(*), count(*) FILTER (WHERE encrypted_password <> ''),
             count(*) FILTER (WHERE encrypted_password <> '' AND encrypted_password !~ '{HASHES}'),
             count(*) FILTER (WHERE encrypted_password ~ '^\\$2')
         FROM auth.users"
    );
    let rows = client.query(&sql).await?;
    let row = rows.one()?;
    let count = |column: usize| row.parse::<u64>(column);
    let (users, passwords, malformed, bcrypt) = (count(0)?, count(1)?, count(2)?, count(3)?);
    let mut problems = Vec::new();
    if malformed > 0 {
        let users = counted(malformed, "user has", "users have");
        problems.push(format!("{users} a password hash of no known form"));
    }
    let mut at = format!("{}, {passwords} with a password", counted(users, "user", "users"));
    match crypt(client).await? {
        Some(true) => at += "; pgcrypto verifies a hash",
        Some(false) => problems.push("pgcrypto does not verify a hash that it has just made".to_owned()),
        None if bcrypt > 0 => at += "; hashes are well-formed, and not tried: there is no pgcrypto",
        None => {}
    }
    Ok(Verdict::looked(at, problems))
}

/// Whether pgcrypto verifies a throw-away hash; `None` where it is not installed.
async fn crypt(client: &mut Client) -> Result<Option<bool>, basekeep_postgres::Error> {
    let sql = "SELECT n.nspname FROM pg_catalog.pg_extension AS e JOIN pg_catalog.pg_namespace AS n ON n.oid = e.extnamespace
               WHERE e.extname = 'pgcrypto'";
    let rows = client.query(sql).await?;
    let Some(schema) = rows.first().and_then(|row| row.get(0)).map(quote_identifier) else { return Ok(None) };
    let sql = format!(
        "SELECT {schema}.crypt('a password', made.hash) = made.hash AND {schema}.crypt('another', made.hash) <> made.hash
         FROM (SELECT {schema}.crypt('a password', {schema}.gen_salt('bf', 4))) AS made (hash)"
    );
    Ok(Some(client.query(&sql).await?.one()?.get(0) == Some("t")))
}
