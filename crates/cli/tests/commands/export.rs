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

#[tokio::test]
async fn each_form_of_one_file_goes_to_standard_output() {
    let (_database, sandbox) = shop().await;
    sandbox.run("backup --quiet").expect(0);
    for (format, begins, holds) in [
        ("sql", &b"--"[..], &b"COPY public.orders (id) FROM stdin;"[..]),
        ("schema", b"--", b"CREATE TABLE public.orders"),
        ("json", b"[", b"{\"id\":100}"),
        ("jsonl", b"{\"id\":1}\n", b"{\"id\":100}\n"),
        ("csv", b"id\n1\n", b"\n100\n"),
        ("parquet", b"PAR1", b"id"),
        ("archive", b"PGDMP", b"orders"),
        ("dump", b"PGDMP", b"orders"),
    ] {
        let table = if ["sql", "schema", "archive", "dump"].contains(&format) {
            ""
        } else {
            " --table public.orders"
        };
        let line = format!("export -o - --format {format}{table}");
        let output = sandbox.command(line.split_whitespace()).output().unwrap();
        assert!(output.status.success(), "{format}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(
            output.stdout.starts_with(begins),
            "{format}: {:?}",
            &output.stdout[..20.min(output.stdout.len())]
        );
        assert!(output.stdout.windows(holds.len()).any(|part| part == holds), "{format}");
    }
    for format in ["components", "all", "sql,csv"] {
        let ran = sandbox.run(&format!("export -o - --format {format}")).expect(2);
        assert!(ran.stdout.is_empty() && ran.stderr.contains("folder"), "{format}: {}", ran.stderr);
    }
}

#[tokio::test]
async fn a_disk_that_is_full_leaves_no_file_and_says_so() {
    let (database, sandbox) = shop().await;
    basekeep_testkit::load_sql(&database, "INSERT INTO orders SELECT generate_series(1000, 400000)").await;
    sandbox.run("backup --quiet").expect(0);
    // A process may not write files of more than 512 blocks; it is told so instead of killed.
    let plain = sandbox.command(["export", "-o", "out", "--no-cache"]);
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 512; exec \"$@\"", "sh"]).arg(plain.get_program());
    limited.args(plain.get_args()).current_dir(sandbox.path(""));
    limited.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = limited.output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    assert!(
        complaint.contains("database.sql") && complaint.to_lowercase().contains("file too large"),
        "{complaint}"
    );
    assert!(!sandbox.path("out/database.sql").exists());
}
