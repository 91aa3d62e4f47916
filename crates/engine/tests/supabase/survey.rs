//! What the doctor is told about a project.

use basekeep_engine::backup::Source;
use basekeep_engine::survey::{Line, survey};
use basekeep_testkit::TestCluster;

const PLATFORM: &str = include_str!("platform.sql");

fn line<'l>(lines: &'l [Line], code: &str) -> &'l Line {
    lines.iter().find(|line| line.code == code).unwrap_or_else(|| panic!("{code} in {lines:#?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_component_has_a_line_that_says_whether_it_would_be_captured() {
    let database = TestCluster::private(15, &[]).create_database();
    database.load(PLATFORM).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("supabase/functions/hello")).unwrap();
    std::fs::write(folder.path().join("supabase/functions/hello/index.ts"), "").unwrap();
    let source = Source {
        project: Some(folder.path().to_owned()),
        ..Source::new("shop", database.options().with_user("operator", None))
    };
    let lines = survey(&source).await.unwrap();
    let said = |code: &str| (line(&lines, code).captured, line(&lines, code).what.as_str());
    assert_eq!(
        said("supabase"),
        (
            true,
            "a Supabase project; auth migrated to 20240427152123 (2 migrations); storage migrated to add-version (2 migrations)"
        )
    );
    let users = "accounts: 4 users (argon2id 1, bcrypt 1, fbscrypt 1, none 1), 3 identities";
    assert_eq!(said("supabase-users"), (true, users));
    assert_eq!(said("supabase-storage"), (true, "storage: 1 buckets, 3 objects"));
    assert_eq!(said("supabase-vault"), (true, "vault: 2 secrets, decrypted into the sealed repository"));
    assert_eq!(said("supabase-queues"), (true, "queues: 1 queues, 4 queue messages"));
    assert_eq!(said("supabase-folder"), (true, "project folder: 1 edge functions, 1 files"));
    assert!(!lines.iter().any(|line| line.code == "supabase-role"), "it lacks nothing that matters");

    let limited = Source::new("shop", database.options().with_user("limited", None));
    let lines = survey(&limited).await.unwrap();
    let said = |code: &str| (line(&lines, code).captured, line(&lines, code).what.as_str());
    let (captured, what) = said("supabase-role");
    assert!(!captured && what.contains("BYPASSRLS"), "{what}");
    let (captured, what) = said("supabase-users");
    assert!(!captured && what.contains("users: permission denied for table users"), "{what}");
    assert_eq!(
        said("supabase-vault"),
        (false, "vault: its secrets are not captured: permission denied for view decrypted_secrets")
    );
    assert!(line(&lines, "supabase-vault").hint.is_some());
    assert!(!said("supabase-folder").0);
    assert!(lines.iter().all(|line| !format!("{line:?}").contains("sk_live")));

    let plain = TestCluster::shared(15).create_database();
    assert_eq!(survey(&Source::new("plain", plain.options())).await.unwrap(), []);
}
