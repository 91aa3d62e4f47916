//! What a restore into a project tells: references that lead nowhere, and what it leaves to the platform.

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
    source.execute_as("supabase_admin", "ALTER ROLE anon SET statement_timeout = '7s'").await;
    let target = Platform::start(server(15)).await.create_project("fresh").await;
    let backup = backed_up(&source).await;
    let report = restored(&backup, &into_project(&target)).await;
    let failed: Vec<_> = report.failed.iter().map(|failed| failed.object.as_str()).collect();
    assert!(failed.len() == 1 && failed[0].contains("mfa_factors"), "{:?}", report.failed);
    let told = |text: &str| report.warnings.iter().any(|warning| warning.contains(text));
    assert!(
        told("roles of the platform had other settings") && told("anon (statement_timeout)"),
        "{:?}",
        report.warnings
    );
    assert!(told("rows of the moment") && told("realtime.messages"), "{:?}", report.warnings);
    assert!(
        !report.warnings.iter().any(|warning| warning.contains("could not be checked")),
        "{:?}",
        report.warnings
    );
}
