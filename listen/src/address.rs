//! `:8443`, `127.0.0.1:0`, `[::1]:8443`: where a port listens.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::str::FromStr;

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the kernel completes before they are accepted. It caps the number itself
/// (`net.core.somaxconn`, 4096 by default).
const BACKLOG: i32 = 4096;

/// Where a port listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// `:PORT`: on every address of the host, IPv6 and IPv4.
    All(u16),
    /// `ADDRESS:PORT`: on that address alone.
    At(SocketAddr),
}

/// The text is not a listen address.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("expected :PORT, ADDRESS:PORT or [IPV6-ADDRESS]:PORT")]
pub struct InvalidAddress;

impl Address {
    /// The port; 0 lets the system choose a free one.
    #[must_use]
    pub fn port(self) -> u16 {
        match self {
            Self::All(port) => port,
            Self::At(address) => address.port(),
        }
    }

    /// `buffer` is what the kernel keeps of a connection in each direction, in bytes. It takes twice as
    /// much, for what it needs itself.
    pub(crate) fn bind(self, buffer: usize) -> io::Result<TcpListener> {
        match self {
            Self::At(address) => bind(address, buffer),
            Self::All(port) => match bind((Ipv6Addr::UNSPECIFIED, port).into(), buffer) {
                // A host without IPv6. A port that is taken is taken on IPv4 as well.
                Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                    bind((Ipv4Addr::UNSPECIFIED, port).into(), buffer)
                }
                bound => bound,
            },
        }
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        match text.strip_prefix(':') {
            // `parse` alone would take a plus sign.
            Some(port) if !port.starts_with('+') => {
                port.parse().map(Self::All).map_err(|_| InvalidAddress)
            }
            Some(_) => Err(InvalidAddress),
            None => text.parse().map(Self::At).map_err(|_| InvalidAddress),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(port) => write!(f, ":{port}"),
            Self::At(address) => address.fmt(f),
        }
    }
}

fn bind(address: SocketAddr, buffer: usize) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // Whatever the system's default is (`net.ipv6.bindv6only`).
        socket.set_only_v6(false)?;
    }
    // A restart finds the port free although connections of the last run are in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Accepted connections inherit them.
    socket.set_recv_buffer_size(buffer)?;
    socket.set_send_buffer_size(buffer)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for text in [":8443", ":0", "127.0.0.1:80", "[::1]:80"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in ["", ":", "8443", ":65536", ":+1", "localhost:80", "127.0.0.1"] {
            assert_eq!(text.parse::<Address>(), Err(InvalidAddress), "{text:?}");
        }
    }

    #[test]
    fn all_addresses_include_ipv4_and_a_taken_port_is_not_evaded() {
        let listener = Address::All(0).bind(4096).unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        let error = Address::All(port).bind(4096).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
