//! A TCP proxy in front of a server that can cut its connections at a chosen moment.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) struct Proxy {
    pub(crate) port: u16,
}

impl Proxy {
    /// Forwards to `server`; after `budget` bytes from the server in all, every connection is cut.
    pub(crate) fn cutting_after(server: u16, budget: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let passed = Arc::new(AtomicU64::new(0));
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                let Ok(upstream) = TcpStream::connect(("127.0.0.1", server)) else { return };
                let (mut from, mut to) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Both);
                });
                let passed = passed.clone();
                std::thread::spawn(move || forward(upstream, client, &passed, budget));
            }
        });
        Self { port }
    }
}

fn forward(mut server: TcpStream, mut client: TcpStream, passed: &AtomicU64, budget: u64) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(n) = server.read(&mut buffer) {
        if n == 0 {
            break;
        }
        let before = passed.fetch_add(n as u64, Ordering::SeqCst);
        let allowed = usize::try_from(budget.saturating_sub(before)).unwrap_or(usize::MAX).min(n);
        if client.write_all(&buffer[..allowed]).is_err() || allowed < n {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
    let _ = client.shutdown(Shutdown::Both);
}
