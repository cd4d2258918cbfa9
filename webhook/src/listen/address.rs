//! `:8443`, `127.0.0.1:0`, `[::1]:8443`: where a port listens.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// Connections that the kernel holds for us until they are accepted. Linux caps it with
/// `net.core.somaxconn`.
const BACKLOG: i32 = 1024;

/// Where a port listens: on every address of the host, or on one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// `:PORT`: every address, IPv6 and IPv4.
    Everywhere(u16),
    /// `ADDRESS:PORT`: that address alone. Port 0 takes a free one.
    At(SocketAddr),
}

/// The text is no listen address.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("expected :PORT, ADDRESS:PORT or [IPV6-ADDRESS]:PORT")]
pub struct NotAnAddress;

impl FromStr for ListenAddress {
    type Err = NotAnAddress;

    fn from_str(text: &str) -> Result<Self, NotAnAddress> {
        if let Some(port) = text.strip_prefix(':') {
            return port.parse().map(Self::Everywhere).map_err(|_| NotAnAddress);
        }
        text.parse().map(Self::At).map_err(|_| NotAnAddress)
    }
}

impl std::fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Everywhere(port) => write!(f, ":{port}"),
            Self::At(address) => address.fmt(f),
        }
    }
}

impl ListenAddress {
    /// Takes the port.
    ///
    /// # Errors
    /// What the operating system says: most often the port is taken, or is below 1024 and not ours.
    pub fn bind(self) -> io::Result<TcpListener> {
        match self {
            Self::At(address) => listen_at(address),
            Self::Everywhere(port) => listen_at((Ipv6Addr::UNSPECIFIED, port).into())
                // A host without IPv6 has no `[::]`. If it is the port that is taken, the second
                // try says so too.
                .or_else(|_| listen_at((Ipv4Addr::UNSPECIFIED, port).into())),
        }
    }
}

fn listen_at(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    // A restart finds the port free although connections of the last run are in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        let cases = [
            (":8443", Some(ListenAddress::Everywhere(8443))),
            (":0", Some(ListenAddress::Everywhere(0))),
            ("127.0.0.1:80", Some(ListenAddress::At(([127, 0, 0, 1], 80).into()))),
            ("[::1]:80", Some(ListenAddress::At((Ipv6Addr::LOCALHOST, 80).into()))),
            ("", None),
            (":", None),
            ("8443", None),
            (":65536", None),
            ("localhost:80", None),
            ("127.0.0.1", None),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse().ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn an_address_is_written_as_it_was_read() {
        for text in [":8443", "127.0.0.1:80", "[::1]:80"] {
            assert_eq!(text.parse::<ListenAddress>().unwrap().to_string(), text);
        }
    }

    #[tokio::test]
    async fn everywhere_takes_ipv4_as_well() {
        let listener = ListenAddress::Everywhere(0).bind().unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    }

    #[tokio::test]
    async fn a_taken_port_is_an_error() {
        let first = ListenAddress::Everywhere(0).bind().unwrap();
        let port = first.local_addr().unwrap().port();
        assert!(ListenAddress::Everywhere(port).bind().is_err());
    }
}
