//! `basekeep cat` and `basekeep list KIND`, with stock restic as the judge of what must come out.

use crate::copy::restic;
use crate::sandbox::Sandbox;

fn sandbox() -> Sandbox {
    let sandbox =
        Sandbox::new().with_variable("BASEKEEP_REPOSITORY", "./r").with_variable("BASEKEEP_PASSWORD", "one");
    sandbox.run("init").expect(0);
    sandbox.write("data/file", "content\n");
    restic(&sandbox, "r", "one", &["backup", "--host", "shop", "data"]);
    sandbox
}

fn value(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn parts_are_what_stock_restic_says_they_are() {
    let sandbox = sandbox();
    let ids = |kind: &str| sandbox.run(&format!("list {kind}")).expect(0).stdout;
    for kind in ["index", "keys", "packs", "locks"] {
        let sorted = |text: String| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        let theirs = sorted(restic(&sandbox, "r", "one", &["list", kind, "--no-lock"]));
        assert_eq!(sorted(ids(kind)), theirs, "{kind}");
    }
    for (kind, of) in [("index", "index"), ("key", "keys")] {
        let listed = ids(of);
        let id = listed.lines().next().unwrap();
        let ours = sandbox.run(&format!("cat {kind} {}", &id[..10])).expect(0).stdout;
        assert_eq!(value(&ours), value(&restic(&sandbox, "r", "one", &["cat", kind, id])), "{kind}");
        assert!(ours.starts_with("{\n  \""), "{ours}");
    }
    let folder = sandbox.path("");
    let folder = folder.components().as_path();
    let same = |ours: &str, theirs: &[&str]| {
        let ours = sandbox.run(ours).expect(0).stdout;
        // The sandbox shows its folder so.
        let theirs = restic(&sandbox, "r", "one", theirs).replace(folder.to_str().unwrap(), "[FOLDER]");
        assert_eq!(value(&ours), value(&theirs));
        value(&ours)
    };
    same("cat config", &["cat", "config"]);
    // Stock restic clears the bits of `r` that Poly1305 does not use.
    let ours = value(&sandbox.run("cat masterkey").expect(0).stdout);
    let theirs = value(&restic(&sandbox, "r", "one", &["cat", "masterkey"]));
    assert_eq!((&ours["encrypt"], &ours["mac"]["k"]), (&theirs["encrypt"], &theirs["mac"]["k"]));
    assert_eq!(ours["mac"]["r"].as_str().map(str::len), theirs["mac"]["r"].as_str().map(str::len));
    let listed = sandbox.run("list --json").expect(0).json();
    let id = listed["snapshots"][0]["id"].as_str().unwrap().to_owned();
    let snapshot = same(&format!("cat snapshot {}", &id[..8]), &["cat", "snapshot", &id]);
    assert_eq!(sandbox.run("cat snapshot latest --json").expect(0).json(), snapshot);
    let root = snapshot["tree"].as_str().unwrap();
    same(&format!("cat tree {}", &root[..16]), &["cat", "blob", root]);
}

#[test]
fn blobs_packs_and_files_come_as_the_bytes_that_they_are() {
    let sandbox = sandbox();
    assert_eq!(sandbox.run("cat file latest /data/file").expect(0).stdout, "content\n");
    let packs = sandbox.run("list packs --json").expect(0).json();
    let pack = packs["ids"][0].as_str().unwrap();
    let output = sandbox.command(["cat", "pack", pack]).output().unwrap();
    assert_eq!(output.stdout, std::fs::read(sandbox.path(&format!("r/data/{}/{pack}", &pack[..2]))).unwrap());
    let index = sandbox.run("list index").expect(0).stdout;
    let index = sandbox.run(&format!("cat index {}", index.trim())).expect(0).json();
    let data = index["packs"].as_array().unwrap().iter().flat_map(|pack| pack["blobs"].as_array().unwrap());
    let blob = data.into_iter().find(|blob| blob["type"] == "data").unwrap()["id"].as_str().unwrap();
    assert_eq!(sandbox.run(&format!("cat blob {}", &blob[..12])).expect(0).stdout, "content\n");
}

#[test]
fn what_is_not_there_is_named() {
    let sandbox = sandbox();
    sandbox.refused("cat index zz", 2, "error: no index has an id that begins with 'zz'\n");
    sandbox.refused("cat blob zz", 2, "error: no blob has an id that begins with 'zz'\n");
    let ran = sandbox.run("cat file latest /none").expect(2);
    assert!(ran.stderr.starts_with("error: there is no /none of snapshot "), "{}", ran.stderr);
    let ran = sandbox.run("cat file latest /").expect(2);
    assert!(ran.stderr.contains("hint: "), "{}", ran.stderr);
}
