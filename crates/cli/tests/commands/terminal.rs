//! `basekeep` in a pseudo-terminal, with somebody at the keys.

use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};

/// The program, its terminal, and all that it has shown.
pub(crate) struct Terminal {
    child: Child,
    keys: File,
    /// Its device.
    name: PathBuf,
    shown: Arc<Mutex<String>>,
    /// How much of it was waited for already.
    seen: usize,
}

impl Terminal {
    pub(crate) fn start(mut command: Command) -> Self {
        let size = Winsize { ws_row: 50, ws_col: 160, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = openpty(Some(&size), None).unwrap();
        let slave = || File::from(pair.slave.try_clone().unwrap());
        command.env("TERM", "xterm").env("NO_COLOR", "1");
        let child = command.stdin(slave()).stdout(slave()).stderr(slave()).spawn().unwrap();
        drop(command);
        let name = nix::unistd::ttyname(&pair.slave).unwrap();
        drop(pair.slave);
        let keys = File::from(pair.master);
        let mut screen = keys.try_clone().unwrap();
        let shown = Arc::new(Mutex::new(String::new()));
        let kept = shown.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // The terminal is gone when the program is.
            while let Ok(read @ 1..) = screen.read(&mut buffer) {
                kept.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
        });
        Self { child, keys, name, shown, seen: 0 }
    }

    /// Waits until it shows this, after what was waited for before.
    pub(crate) fn wait_for(&mut self, text: &str) -> &mut Self {
        let began = Instant::now();
        loop {
            let shown = self.shown();
            if let Some(found) = shown.get(self.seen..).and_then(|new| new.find(text)) {
                self.seen += found + text.len();
                return self;
            }
            assert!(began.elapsed() < Duration::from_secs(60), "waited for {text:?}, shown:\n{shown}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn press(&mut self, keys: &str) -> &mut Self {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self
    }

    /// Gives it another size, of which the program is told.
    pub(crate) fn resize(&mut self, rows: u16, columns: u16) -> &mut Self {
        let (rows, columns) = (rows.to_string(), columns.to_string());
        let stty =
            Command::new("stty").arg("-F").arg(&self.name).args(["rows", &rows, "cols", &columns]).status();
        assert!(stty.unwrap().success());
        let pid = nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGWINCH).unwrap();
        self
    }

    /// Presses a key until it ends. (A key that comes together with a change of the size may be seen with the next one only.)
    pub(crate) fn end_by(mut self, key: &str) -> (Option<i32>, String) {
        let began = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(began.elapsed() < Duration::from_secs(60), "pressed {key:?}, shown:\n{}", self.shown());
            // Nobody reads it any more once it has ended.
            let _ = self.keys.write_all(key.as_bytes());
            std::thread::sleep(Duration::from_millis(100));
        }
        self.end()
    }

    /// Waits for its end; gives the exit code and all that was shown.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let code = self.child.wait().unwrap().code();
        let began = Instant::now();
        // What was written last may still be on its way.
        let mut length = usize::MAX;
        while length != self.shown().len() && began.elapsed() < Duration::from_secs(5) {
            length = self.shown().len();
            std::thread::sleep(Duration::from_millis(100));
        }
        (code, self.shown())
    }

    fn shown(&self) -> String {
        self.shown.lock().unwrap().clone()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
