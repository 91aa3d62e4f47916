//! The user that servers run as: PostgreSQL refuses to run as root.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// A user and its group, by number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct User {
    uid: u32,
    gid: u32,
}

impl User {
    /// The user to switch to: `postgres` or `nobody` when this process is root (it owns what it creates, such as
    /// `own`), nobody else otherwise.
    pub(crate) fn for_servers(own: &Path) -> Option<Self> {
        if fs::metadata(own).expect("own directory is readable").uid() != 0 {
            return None;
        }
        let passwd = fs::read_to_string("/etc/passwd").expect("/etc/passwd is readable");
        let user = ["postgres", "nobody"].iter().find_map(|name| Self::parse(&passwd, name));
        Some(user.expect("there is a user postgres or nobody"))
    }

    fn parse(passwd: &str, name: &str) -> Option<Self> {
        let mut fields =
            passwd.lines().map(|line| line.split(':')).find(|fields| fields.clone().next() == Some(name))?;
        Some(Self { uid: fields.nth(2)?.parse().ok()?, gid: fields.next()?.parse().ok()? })
    }

    pub(crate) fn give(self, path: &Path) {
        std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid)).expect("root may give a file away");
    }
}

/// A command that runs as `user`, without this process's supplementary groups.
pub(crate) fn command(program: &Path, user: Option<User>) -> Command {
    let mut command = Command::new(program);
    if let Some(user) = user {
        command.uid(user.uid).gid(user.gid);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::User;

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let passwd = "root:x:0:0::/root:/bin/sh\npostgres2:x:7:7:::\npostgres:x:101:104:PostgreSQL,,,:/var:/bin/bash\n";
        let user = User::parse(passwd, "postgres").unwrap();
        assert_eq!((user.uid, user.gid), (101, 104));
        assert!(User::parse(passwd, "nobody").is_none());
    }
}
