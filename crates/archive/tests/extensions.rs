//! Configuration tables of extensions have data but no entry of their own.

use std::fs;

use basekeep_archive::{Archive, Pass, RestoreOptions, plan};

use crate::cluster::{Cluster, run};
use crate::round_trip::dump;
use crate::stock::{assert_same, build, data_of};

/// A server that knows the extension `archive_config`: a table and a sequence of settings, and a table that is none.
fn cluster(directory: &tempfile::TempDir) -> Cluster {
    use std::os::unix::fs::PermissionsExt;

    let extension = directory.path().join("extension");
    fs::create_dir(&extension).unwrap();
    fs::write(
        extension.join("archive_config.control"),
        "default_version = '1.0'\nrelocatable = false\nschema = public\n",
    )
    .unwrap();
    fs::write(
        extension.join("archive_config--1.0.sql"),
        "CREATE TABLE @extschema@.config_keys (id serial PRIMARY KEY, name text);
         CREATE TABLE @extschema@.config_values (key integer REFERENCES @extschema@.config_keys, value text);
         CREATE TABLE @extschema@.config_none (id integer);
         SELECT pg_catalog.pg_extension_config_dump('@extschema@.config_keys', '');
         SELECT pg_catalog.pg_extension_config_dump('@extschema@.config_keys_id_seq', '');
         SELECT pg_catalog.pg_extension_config_dump('@extschema@.config_values', '');",
    )
    .unwrap();
    for path in [directory.path(), &extension] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    // Only from release 18 on can extensions be outside of the installation.
    Cluster::start_with(18, &format!("extension_control_path = '{}:$system'", directory.path().display()))
}

#[test]
fn configuration_tables_of_an_extension_are_restored_before_what_refers_to_them() {
    let directory = tempfile::tempdir().unwrap();
    let cluster = cluster(&directory);
    cluster.create_database("source");
    let setup = "CREATE EXTENSION archive_config;
        INSERT INTO config_keys (name) SELECT 'key ' || n FROM generate_series(1, 500) AS n;
        INSERT INTO config_values SELECT id, 'value' FROM config_keys;
        CREATE TABLE users (id integer PRIMARY KEY, key integer REFERENCES config_keys);
        INSERT INTO users SELECT n, n FROM generate_series(1, 10) AS n;";
    cluster.psql("source", &["-c", setup]);
    let folder = directory.path().join("archive");
    let archive = build(&cluster, 18, &folder);

    // pg_dump writes the same entries, with a dependency on nothing in their place.
    let full = directory.path().join("full");
    dump(&cluster, 18, "d", &["-Z0"], &full);
    let theirs = Archive::parse(&fs::read(full.join("toc.dat")).unwrap()).unwrap();
    let extension = archive.entries.iter().find(|e| e.desc == "EXTENSION").unwrap();
    for name in ["config_keys", "config_values", "config_keys_id_seq"] {
        let find = |archive: &Archive| {
            archive.entries.iter().find(|e| e.tag.as_ref().is_some_and(|t| *t == name)).cloned()
        };
        let (ours, theirs) = (find(&archive).unwrap(), find(&theirs).unwrap());
        assert_eq!(
            (&ours.desc, &ours.copy_stmt, &ours.defn),
            (&theirs.desc, &theirs.copy_stmt, &theirs.defn)
        );
        assert_eq!((ours.catalog, ours.section), (theirs.catalog, theirs.section));
        assert_eq!(ours.dependencies[0], extension.dump_id);
    }

    let plan = plan(&archive, &RestoreOptions::default(), &|_| true);
    let index = |desc: &str, tag: &str| {
        let is = |e: &basekeep_archive::Entry| e.desc == desc && e.tag.as_ref().is_some_and(|t| *t == tag);
        plan.steps.iter().position(|s| is(&archive.entries[s.entry])).unwrap()
    };
    let key = &plan.steps[index("FK CONSTRAINT", "users users_key_fkey")];
    assert_eq!(key.pass, Pass::Main);
    for table in ["config_keys", "config_values", "users"] {
        assert!(key.depends_on.contains(&index("TABLE DATA", table)), "{table}");
    }

    cluster.create_database("target");
    run(cluster.client("pg_restore", 18, "target").args(["-j4", "--exit-on-error"]).arg(&folder));
    assert_same(&data_of(&cluster, 18, "source"), &data_of(&cluster, 18, "target"));
}
