//! Who and where this process is, for locks, keys and snapshots.

use nix::errno::Errno;
use nix::sys::signal;
use nix::unistd::{Pid, User, getgid, getuid};

pub(crate) fn hostname() -> String {
    nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default()
}

pub(crate) fn username() -> String {
    User::from_uid(getuid()).ok().flatten().map_or_else(String::new, |user| user.name)
}

pub(crate) fn uid() -> u32 {
    getuid().as_raw()
}

pub(crate) fn gid() -> u32 {
    getgid().as_raw()
}

/// Whether a process with this id lives on this machine (also if it is somebody else's).
pub(crate) fn process_lives(pid: u32) -> bool {
    let Ok(pid) = i32::try_from(pid) else { return false };
    pid > 0 && signal::kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_lives_and_an_impossible_one_does_not() {
        assert!(process_lives(std::process::id()));
        assert!(process_lives(1));
        assert!(!process_lives(0));
        assert!(!process_lives(i32::MAX as u32));
    }
}
