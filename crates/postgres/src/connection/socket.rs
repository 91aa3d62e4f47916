//! Opens the socket to one address, with the TCP settings that were asked for.

use crate::connection::stream::Stream;
use crate::conninfo::{Endpoint, Keepalives, Settings};
use crate::error::Error;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};

/// Where an endpoint leads to.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    Unix,
}

/// All addresses of an endpoint, in the resolver's order.
pub(crate) async fn addresses(endpoint: &Endpoint) -> Result<Vec<Address>, Error> {
    if endpoint.is_socket() {
        return Ok(vec![Address::Unix]);
    }
    if let Some(address) = endpoint.address.or_else(|| endpoint.host.parse().ok()) {
        return Ok(vec![Address::Tcp((address, endpoint.port).into())]);
    }
    let unknown = |source| Error::HostNotFound { host: endpoint.host.clone(), source };
    let found = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port)).await.map_err(unknown)?;
    let mut addresses: Vec<Address> = Vec::new();
    for address in found {
        if !addresses.iter().any(|a| matches!(a, Address::Tcp(known) if *known == address)) {
            addresses.push(Address::Tcp(address));
        }
    }
    if addresses.is_empty() {
        return Err(unknown(io::ErrorKind::NotFound.into()));
    }
    Ok(addresses)
}

pub(crate) async fn open(
    endpoint: &Endpoint,
    address: &Address,
    settings: &Settings,
) -> Result<Stream, Error> {
    let failed = |source| Error::Connect { endpoint: endpoint.describe(), source };
    match address {
        Address::Unix => {
            let stream = open_unix(endpoint).await.map_err(failed)?;
            check_peer(&stream, settings.require_peer.as_deref())?;
            Ok(Stream::Unix(stream))
        }
        Address::Tcp(address) => {
            let stream = TcpStream::connect(address).await.map_err(failed)?;
            stream.set_nodelay(true).map_err(failed)?;
            set_keepalives(&stream, &settings.keepalives).map_err(failed)?;
            Ok(Stream::Tcp(stream))
        }
    }
}

async fn open_unix(endpoint: &Endpoint) -> io::Result<UnixStream> {
    let path = endpoint.describe();
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Some(name) = path.strip_prefix('@') {
        use std::os::linux::net::SocketAddrExt;
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
        let stream = std::os::unix::net::UnixStream::connect_addr(&address)?;
        stream.set_nonblocking(true)?;
        return UnixStream::from_std(stream);
    }
    UnixStream::connect(path).await
}

/// `requirepeer`: the server's process must belong to this user.
fn check_peer(stream: &UnixStream, required: Option<&str>) -> Result<(), Error> {
    let Some(required) = required else { return Ok(()) };
    let uid = nix::unistd::Uid::from_raw(stream.peer_cred()?.uid());
    let name = nix::unistd::User::from_uid(uid).ok().flatten().map(|u| u.name);
    if name.as_deref() == Some(required) {
        return Ok(());
    }
    Err(Error::Authentication(format!("requirepeer names {required}, but the server runs as another user")))
}

/// A dead peer would otherwise be noticed after hours only: keepalives are on unless switched off, as in libpq.
fn set_keepalives(stream: &TcpStream, settings: &Keepalives) -> io::Result<()> {
    let socket = socket2::SockRef::from(stream);
    if let Some(timeout) = settings.user_timeout {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        socket.set_tcp_user_timeout(Some(timeout))?;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let _: Duration = timeout;
    }
    if settings.off {
        return socket.set_keepalive(false);
    }
    let at_least_a_second = |d: Duration| d.max(Duration::from_secs(1));
    let mut keepalive = socket2::TcpKeepalive::new();
    if let Some(idle) = settings.idle {
        keepalive = keepalive.with_time(at_least_a_second(idle));
    }
    if let Some(interval) = settings.interval {
        keepalive = keepalive.with_interval(at_least_a_second(interval));
    }
    if let Some(count) = settings.count {
        keepalive = keepalive.with_retries(count);
    }
    socket.set_keepalive(true)?;
    socket.set_tcp_keepalive(&keepalive)
}
