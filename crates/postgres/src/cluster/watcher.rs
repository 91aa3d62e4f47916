//! The process between us and a scratch server, so that no server outlives us, however we end.
//!
//! A small shell script starts the server and then reads from a pipe that only we hold open. When we close it, or are
//! killed with SIGKILL, the read ends, and the script stops the server and removes its directory. The alternatives are worse:
//! a parent-death signal exists on Linux only and fires when the *thread* that started the server ends, and reaping at
//! the next start leaves servers running until there is one. The script has a process group of its own: Ctrl-C on the
//! terminal reaches us, and we stop the server.

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::process::ChildStdout;

/// Arguments: programs, cluster directory, socket directory, then initdb's. The server inherits standard output as
/// descriptor 3, so that its end is seen as the end of that pipe.
const SCRIPT: &str = r#"
bin=$1 dir=$2 socket=$3
shift 3
server=
if [ -e "$dir/data/PG_VERSION" ] || "$bin/initdb" -D "$dir/data" "$@" >"$dir/initdb.log" 2>&1 </dev/null; then
    cat "$dir/settings" >"$dir/data/postgresql.auto.conf"
    cat "$dir/hba" >"$dir/data/pg_hba.conf"
    rm -f "$dir/password"
    "$bin/postgres" -D "$dir/data" 3>&1 >>"$dir/server.log" 2>&1 </dev/null &
    server=$!
fi
exec >/dev/null
read -r order
if [ "$order" = keep ]; then exit 0; fi
if [ -n "$server" ]; then
    kill -QUIT "$server" 2>/dev/null
    # A server that has just been started may not have taken notice of the signal.
    (sleep 2; kill -QUIT "$server"; sleep 3; kill -KILL "$server") >/dev/null 2>&1 &
    again=$!
    wait "$server"
    kill "$again" 2>/dev/null
fi
if [ "$order" != retry ]; then rm -rf "$socket" "$dir"; fi
"#;

/// The system's user that runs a server which refuses to run as root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Account {
    /// `None` when this process is not root: the server then runs as we do.
    pub(super) fn for_server() -> io::Result<Option<Self>> {
        if !nix::unistd::geteuid().is_root() {
            return Ok(None);
        }
        for name in ["postgres", "nobody"] {
            if let Some(user) = nix::unistd::User::from_name(name)? {
                return Ok(Some(Self { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw() }));
            }
        }
        Err(io::Error::new(io::ErrorKind::NotFound, "neither the user postgres nor nobody exists"))
    }
}

pub(super) struct Watcher {
    child: Child,
    orders: Option<ChildStdin>,
    server_end: Option<ChildStdout>,
}

impl Watcher {
    /// Starts the script. Needs a tokio runtime.
    pub(super) fn start(
        bin: &Path,
        dir: &Path,
        socket_dir: &Path,
        initdb_args: &[OsString],
        account: Option<&Account>,
    ) -> io::Result<Self> {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", SCRIPT, "basekeep-scratch-cluster"])
            .arg(bin)
            .arg(dir)
            .arg(socket_dir)
            .args(initdb_args);
        command.env_clear().current_dir("/").process_group(0);
        for name in ["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "TMPDIR"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        if let Some(account) = account {
            command.uid(account.uid).gid(account.gid);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let orders = child.stdin.take();
        let server_end = child.stdout.take().map(ChildStdout::from_std).transpose()?;
        Ok(Self { child, orders, server_end })
    }

    /// Waits until the server has ended (or was never started).
    pub(super) async fn server_ended(&mut self) {
        if let Some(pipe) = &mut self.server_end {
            // Nothing is ever written: the end of the pipe is the end of the server.
            let _ = pipe.read(&mut [0; 1]).await;
        }
    }

    /// Ends the watch and lets the server run on.
    pub(super) fn release(mut self) {
        self.order("keep\n");
        self.wait();
    }

    /// Stops the server and leaves its directory for another start.
    pub(super) fn stop_for_retry(mut self) {
        self.order("retry\n");
        self.wait();
    }

    fn order(&mut self, order: &str) {
        if let Some(mut orders) = self.orders.take() {
            // A script that is gone has nothing to be told.
            let _ = orders.write_all(order.as_bytes());
        }
    }

    /// Waits for the script, with a bound: it stops the server at once and removes a directory.
    fn wait(&mut self) {
        let end = Instant::now() + Duration::from_secs(30);
        while let Ok(None) = self.child.try_wait() {
            if Instant::now() > end {
                return;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        drop(self.orders.take());
        self.wait();
    }
}
