//! Garage servers: they start, stop and come back, and nothing is left of them afterwards.

use std::path::Path;
use std::process::Command;

use basekeep_testkit::Garage;

fn servers_of(garage: &Garage) -> usize {
    let directory = garage.directory().display().to_string();
    let found = Command::new("pgrep").args(["-fc", &format!("garage -c {directory}/")]).output().unwrap();
    String::from_utf8(found.stdout).unwrap().trim().parse().unwrap()
}

#[test]
fn servers_stop_start_and_leave_nothing_behind() {
    let garage = Garage::start(3, 3);
    let bucket = garage.bucket();
    assert_eq!(bucket.endpoints.len(), 3);
    assert_ne!(garage.bucket().key_id, bucket.key_id);
    assert_eq!(servers_of(&garage), 3);
    garage.stop_node(1);
    garage.stop_node(2);
    assert_eq!(servers_of(&garage), 1);
    garage.start_node(1);
    garage.start_node(2);
    assert_eq!(servers_of(&garage), 3);
    let directory = garage.directory().to_owned();
    drop(garage);
    assert!(!Path::new(&directory).exists());
}
