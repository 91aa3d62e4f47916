//! Garage servers: they start, stop and come back, and nothing is left of them afterwards.

use std::fs;
use std::path::Path;

use basekeep_testkit::Garage;

fn servers_of(garage: &Garage) -> usize {
    let pid = |node: usize| fs::read_to_string(garage.directory().join(format!("node-{node}.pid"))).unwrap();
    (0..3).filter(|node| Path::new("/proc").join(pid(*node)).join("fd").exists()).count()
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
