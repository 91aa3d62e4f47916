//! Running a plan restores a database, whatever its steps' order within the plan's rules.

use std::fs;
use std::path::Path;

use basekeep_archive::{
    Archive, CompareOptions, RestoreOptions, RestorePlan, StepKind, compare, plan, session_setup,
};

use crate::cluster::{Cluster, run};
use crate::round_trip::schema_of;
use crate::sources;
use crate::stock::{assert_same, build, copy_roles, data_of, file_name};

/// Runs steps in this order, each query as one message, on one connection.
pub(crate) fn execute(
    cluster: &Cluster,
    database: &str,
    archive: &Archive,
    folder: &Path,
    plan: &RestorePlan,
    order: &[usize],
) {
    let opts = RestoreOptions::default();
    let scratch = tempfile::tempdir().unwrap();
    let mut arguments = vec!["-c".to_owned(), session_setup(archive)];
    for index in order {
        let step = &plan.steps[*index];
        let entry = &archive.entries[step.entry];
        match step.kind {
            StepKind::Sql | StepKind::SequenceSet => {
                for query in entry.create_sql(archive, &opts).unwrap().queries {
                    arguments.extend(["-c".to_owned(), query.to_string()]);
                }
            }
            StepKind::TableData => {
                let mut script = entry.copy_stmt.clone().unwrap().to_vec();
                script.extend(fs::read(folder.join(file_name(entry))).unwrap());
                let file = scratch.path().join(format!("{}.sql", entry.dump_id));
                fs::write(&file, script).unwrap();
                arguments.extend(["-f".to_owned(), file.display().to_string()]);
            }
            StepKind::LargeObjects => {
                for line in fs::read_to_string(folder.join(file_name(entry))).unwrap().lines() {
                    let (oid, file) = line.split_once(' ').unwrap();
                    let content: String =
                        fs::read(folder.join(file)).unwrap().iter().map(|b| format!("{b:02x}")).collect();
                    let script = scratch.path().join(format!("{oid}.lo.sql"));
                    fs::write(&script, format!("SELECT pg_catalog.lo_put({oid}, 0, '\\x{content}');"))
                        .unwrap();
                    arguments.extend(["-f".to_owned(), script.display().to_string()]);
                }
            }
        }
    }
    // Command lines have a limit, so go through a file of psql's own \i for scripts and one -c for each query.
    for chunk in split(&arguments) {
        let mut psql = cluster.client("psql", cluster.major.max(16), database);
        psql.args(["-X", "-q", "-o", "/dev/null", "-v", "ON_ERROR_STOP=1"]);
        psql.args(["-c", &session_setup(archive)]).args(chunk);
        run(&mut psql);
    }
}

/// Argument pairs in lots that a command line can hold.
fn split(arguments: &[String]) -> Vec<&[String]> {
    arguments.chunks(600).collect()
}

/// An order that keeps dependencies and passes and is otherwise as far from the plan's as possible.
fn latest_first(plan: &RestorePlan) -> Vec<usize> {
    let mut done = vec![false; plan.steps.len()];
    let mut order = Vec::new();
    let mut passes: Vec<_> = plan.steps.iter().map(|s| s.pass).collect();
    passes.dedup();
    for pass in passes {
        loop {
            let ready = plan.steps.iter().enumerate().rev().find(|(index, step)| {
                !done[*index] && step.pass == pass && step.depends_on.iter().all(|d| done[*d])
            });
            let Some((index, _)) = ready else { break };
            done[index] = true;
            order.push(index);
        }
    }
    assert_eq!(order.len(), plan.steps.len());
    order
}

fn check(load: fn(&Cluster) -> bool, source_major: u32, dump_major: u32, target_major: u32) {
    let source = Cluster::start(source_major);
    if !load(&source) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let folder = directory.path().join("archive");
    let archive = build(&source, dump_major, &folder);
    let plan = plan(&archive, &RestoreOptions::default(), &|_| true);

    let target = Cluster::start(target_major);
    let compare_major = target_major.max(dump_major).max(if target_major == 17 { 18 } else { 0 });
    copy_roles(&source, &target, dump_major);
    let expected_data = data_of(&source, compare_major, "source");
    let expected = schema_of(&source, dump_major, "source");
    for (database, order) in
        [("in_order", (0..plan.steps.len()).collect::<Vec<_>>()), ("reordered", latest_first(&plan))]
    {
        target.create_database(database);
        execute(&target, database, &archive, &folder, &plan, &order);
        assert_same(&expected_data, &data_of(&target, compare_major, database));
        let restored = schema_of(&target, compare_major, database);
        let differences = compare(&expected, &restored, &CompareOptions::default());
        assert!(differences.is_empty(), "{database}: {differences:#?}");
    }
}

fn small(cluster: &Cluster) -> bool {
    sources::small(cluster);
    true
}

#[test]
fn a_plan_restores_into_the_same_release() {
    check(small, 15, 15, 15);
    check(small, 18, 18, 18);
}

#[test]
fn a_plan_restores_into_a_newer_release() {
    check(small, 15, 15, 18);
}

#[test]
fn a_plan_restores_the_odd_catalog_of_15() {
    check(sources::odd, 15, 15, 15);
}

#[test]
fn a_plan_restores_the_odd_catalog_of_16() {
    check(sources::odd, 16, 16, 16);
}

#[test]
fn a_plan_restores_the_odd_catalog_of_18() {
    check(sources::odd, 18, 18, 18);
}

#[test]
fn a_plan_restores_the_odd_catalog_of_16_on_18() {
    check(sources::portable_odd, 16, 16, 18);
}

#[test]
fn a_plan_restores_the_odd_catalog_of_15_on_18() {
    check(sources::portable_odd, 15, 15, 18);
}
