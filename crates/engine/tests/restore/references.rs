//! Rows are loaded while triggers sleep, so references into the platform's tables are checked afterwards.

use basekeep_testkit::server;
use basekeep_testkit::supabase::Platform;

use super::supabase::{backed_up, into_project, restored};

#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_the_platforms_that_refers_to_nothing_is_named() {
    let platform = Platform::start(server(15)).await;
    let source = platform.create_sample_project("app").await;
    source
        .execute_as(
            "supabase_admin",
            "SET session_replication_role = replica;
             INSERT INTO auth.mfa_factors (id, user_id, friendly_name, factor_type, status, created_at, updated_at)
             VALUES ('00000000-0000-0000-0000-0000000000f1', '00000000-0000-0000-0000-0000000000f2', 'lost', 'totp',
                 'verified', now(), now())",
        )
        .await;
    let target = platform.create_project("fresh").await;
    let backup = backed_up(&source).await;
    let report = restored(&backup, &into_project(&target)).await;
    let failed: Vec<_> = report.failed.iter().map(|failed| failed.object.as_str()).collect();
    assert!(failed.len() == 1 && failed[0].contains("mfa_factors"), "{:?}", report.failed);
    assert!(
        !report.warnings.iter().any(|warning| warning.contains("could not be checked")),
        "{:?}",
        report.warnings
    );
}
