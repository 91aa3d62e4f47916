//! What a restore into a project leaves to the platform is told.

use basekeep_testkit::server;
use basekeep_testkit::supabase::Platform;

use super::supabase::{backed_up, into_project, restored};

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_the_platforms_roles_and_rows_of_the_moment_stay_behind_and_are_named() {
    let platform = Platform::start(server(15)).await;
    let source = platform.create_sample_project("app").await;
    source.execute_as("supabase_admin", "ALTER ROLE anon SET statement_timeout = '7s'").await;
    let target = Platform::start(server(15)).await.create_project("fresh").await;
    let backup = backed_up(&source).await;
    let report = restored(&backup, &into_project(&target)).await;
    assert_eq!(report.failed, []);
    let told = |text: &str| report.warnings.iter().any(|warning| warning.contains(text));
    assert!(
        told("roles of the platform had other settings") && told("anon (statement_timeout)"),
        "{:?}",
        report.warnings
    );
    assert!(told("rows of the moment") && told("realtime.messages"), "{:?}", report.warnings);
    assert!(!told("could not be checked"), "{:?}", report.warnings);
}
