//! `basekeep export`, and the plain copies that `[export]` asks for.

use crate::server::shop;

#[tokio::test]
async fn an_export_goes_to_a_folder_or_to_standard_output() {
    let (_database, sandbox) = shop().await;
    sandbox.run("backup --quiet").expect(0);
    let ran = sandbox.run("export -o out").expect(0);
    assert!(
        ran.stdout.contains("4 files, ") && ran.stdout.contains("1 table with 100 rows"),
        "{}",
        ran.stdout
    );
    let script = sandbox.read("out/database.sql");
    assert!(script.contains("COPY public.orders (id) FROM stdin;\n1\n2\n"), "{script}");
    assert!(sandbox.read("out/BACKUP_MANIFEST.md").contains("| database.sql |"));

    let ran = sandbox.run("export -o - --table public.orders --inserts --data-only").expect(0);
    assert!(ran.stdout.contains("INSERT INTO public.orders (id) VALUES\n('1'),\n('2'),"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("CREATE TABLE public.orders"));
    let document = sandbox.run("export -o out --format schema,archive --json").expect(0);
    let document: serde_json::Value =
        document.stdout.lines().last().map(|line| serde_json::from_str(line).unwrap()).unwrap();
    assert_eq!((&document["rows"], &document["tables"]), (&100.into(), &1.into()));
    let names: Vec<&str> =
        document["files"].as_array().unwrap().iter().map(|file| file["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"schema.sql") && names.contains(&"database/toc.dat"), "{names:?}");

    let ran = sandbox.run("export -o - --format components").expect(2);
    assert!(
        ran.stderr.starts_with("error: components are several files and need a folder\n"),
        "{}",
        ran.stderr
    );
    let ran = sandbox.run("export -o - --json").expect(2);
    assert!(ran.stderr.contains("both want standard output"), "{}", ran.stderr);
    let ran = sandbox.run("export -o out2 --table public.order").expect(2);
    assert!(ran.stderr.contains("public.orders"), "{}", ran.stderr);
    assert!(!sandbox.path("out2").exists());
    sandbox.write("mine/database.sql", "mine");
    let ran = sandbox.run("export -o mine").expect(2);
    assert!(ran.stderr.contains("--overwrite"), "{}", ran.stderr);
    assert_eq!(sandbox.read("mine/database.sql"), "mine");
}

#[tokio::test]
async fn a_plain_copy_follows_a_backup_and_its_failure_does_not_lose_the_backup() {
    let (database, sandbox) = shop().await;
    let config = format!(
        "[repository]\nurl = \"r\"\n[source.shop]\nurl = \"{}\"\n[export]\nfolder = \"plain\"\nformats = [\"sql\"]\nmax = 1\n",
        database.url()
    );
    sandbox.write("basekeep.toml", &config);
    let ran = sandbox.run("backup").expect(0);
    assert!(ran.stderr.contains("plain copy in [FOLDER]/plain/shop/"), "{}", ran.stderr);
    let copies = || -> Vec<String> {
        let entries = std::fs::read_dir(sandbox.path("plain/shop")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name != ".lock").collect()
    };
    let first = copies();
    assert_eq!(first.len(), 1, "{first:?}");
    assert!(sandbox.read(&format!("plain/shop/{}/database.sql", first[0])).contains("COPY public.orders"));
    let ran = sandbox.run("backup --json").expect(0);
    let last: serde_json::Value = serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap();
    let document = last.to_string();
    assert!(document.contains(&format!("\"removed\":[\"{}\"]", first[0])), "{document}");
    assert_ne!(copies(), first);

    sandbox.write("basekeep.toml", &config.replace("\"plain\"", "\"basekeep.toml\""));
    let ran = sandbox.run("backup").expect(3);
    assert!(ran.stderr.contains("warning: the plain copy was not written: "), "{}", ran.stderr);
    let listed = sandbox.run("list --json").expect(0).json();
    assert_eq!(listed["snapshots"].as_array().unwrap().len(), 3);
}
