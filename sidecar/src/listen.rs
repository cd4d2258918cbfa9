//! The sidecar's own port, bound before anything else is done.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use socket2::{Domain, Socket, Type};

use crate::args::Listen;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// Why the sidecar's own port cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else in the pod has it.
    #[error(
        "cannot listen on {0}: another container of this pod has the port (the containers of a pod \
         share their ports). Choose another with the pod's annotation secret-handshake/health-port"
    )]
    Taken(Listen),
    /// The system says no.
    #[error(
        "cannot listen on {0}: {1}. Another port is chosen with the pod's annotation \
         secret-handshake/health-port"
    )]
    Refused(Listen, #[source] io::Error),
}

/// Binds and listens.
pub(crate) fn bind(listen: Listen) -> Result<TcpListener, BindError> {
    let bound = match listen {
        Listen::At(address) => socket(address, false),
        Listen::All(port) => all(port, socket),
    };
    bound.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => BindError::Taken(listen),
        _ => BindError::Refused(listen, error),
    })
}

/// IPv6 and IPv4 in one socket, or IPv4 alone on a node without IPv6.
fn all<T>(port: u16, socket: impl Fn(SocketAddr, bool) -> io::Result<T>) -> io::Result<T> {
    match socket(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)), true) {
        // Taken is taken: what is free on IPv4 alone is not the port that was asked for.
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            socket(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)), false)
        }
        bound => bound,
    }
}

/// With `both`, an IPv6 socket takes IPv4 as well, whatever the system's default
/// (`net.ipv6.bindv6only`).
fn socket(address: SocketAddr, both: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if both {
        socket.set_only_v6(false)?;
    }
    // Connections of a sidecar that ran before do not keep the port taken.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::SocketAddr;

    use super::all;

    /// What [`all`] ends with where IPv6 has this error and IPv4 has none.
    fn with_ipv6(error: io::ErrorKind) -> Result<String, io::ErrorKind> {
        let socket = |address: SocketAddr, both| {
            assert_eq!(both, address.is_ipv6());
            if both { Err(error.into()) } else { Ok(address.to_string()) }
        };
        all(13300, socket).map_err(|error| error.kind())
    }

    #[test]
    fn a_node_without_ipv6_serves_ipv4() {
        for error in [io::ErrorKind::Unsupported, io::ErrorKind::AddrNotAvailable] {
            assert_eq!(with_ipv6(error).as_deref(), Ok("0.0.0.0:13300"));
        }
    }

    #[test]
    fn a_taken_port_is_not_evaded() {
        assert_eq!(with_ipv6(io::ErrorKind::AddrInUse), Err(io::ErrorKind::AddrInUse));
    }
}
