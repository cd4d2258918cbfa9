//! The port, claimed once and listened on as often as Legacy starts.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use crate::config::Families;

/// How many connections may wait to be accepted: what Go asks for on Linux.
const QUEUE: i32 = 4096;

/// A port that is ours whether or not anything listens on it.
///
/// A socket that is bound but doesn't listen keeps the port from being given to others as a free
/// one, and from becoming the local end of some outgoing connection (a client that looks for a
/// Legacy on a free port can otherwise connect to itself). Linux lets a second socket with
/// `SO_REUSEADDR` listen beside it, and refuses it where a stranger listens already.
#[derive(Debug)]
pub(crate) struct Port {
    claim: Socket,
    address: SocketAddr,
    only_ipv6: bool,
}

impl Port {
    /// Claims the port; 0 is a free one.
    pub(crate) fn claim(listen: SocketAddr, families: Families) -> io::Result<Self> {
        let unspecified = listen.ip().is_unspecified();
        let address = match families {
            Families::Ipv4 if unspecified => with_ip(listen, Ipv4Addr::UNSPECIFIED),
            Families::Both | Families::Ipv6 if unspecified => {
                with_ip(listen, Ipv6Addr::UNSPECIFIED)
            }
            _ => listen,
        };
        let only_ipv6 = !unspecified || families == Families::Ipv6;
        match bind(address, only_ipv6) {
            Err(_) if unspecified && families == Families::Both && !has_ipv6() => {
                bind(with_ip(listen, Ipv4Addr::UNSPECIFIED), only_ipv6)
            }
            bound => bound,
        }
        .and_then(|claim| {
            let address = local_address(&claim)?;
            Ok(Self { claim, address, only_ipv6 })
        })
    }

    /// The address claimed, with the port that was chosen.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address for a client on this machine.
    pub(crate) fn loopback(&self) -> SocketAddr {
        match self.address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => with_ip(self.address, Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() && self.only_ipv6 => {
                with_ip(self.address, Ipv6Addr::LOCALHOST)
            }
            IpAddr::V6(ip) if ip.is_unspecified() => with_ip(self.address, Ipv4Addr::LOCALHOST),
            _ => self.address,
        }
    }

    pub(crate) fn listen(&self) -> io::Result<TcpListener> {
        let socket = bind(local_address(&self.claim)?, self.only_ipv6)?;
        socket.listen(QUEUE)?;
        socket.set_nonblocking(true)?;
        TcpListener::from_std(socket.into())
    }
}

fn bind(address: SocketAddr, only_ipv6: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(only_ipv6)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

fn local_address(socket: &Socket) -> io::Result<SocketAddr> {
    let address = socket.local_addr()?;
    address.as_socket().ok_or_else(|| io::Error::other("the socket has no IP address"))
}

fn has_ipv6() -> bool {
    bind(SocketAddr::from((Ipv6Addr::LOCALHOST, 0)), true).is_ok()
}

fn with_ip(address: SocketAddr, ip: impl Into<IpAddr>) -> SocketAddr {
    SocketAddr::new(ip.into(), address.port())
}
