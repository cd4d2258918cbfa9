//! How a Legacy is configured: where it listens, what it answers, which secrets it accepts.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use crate::faults::Faults;

/// The text that an initialised Legacy answers with.
pub(crate) const TEXT: &str = "It works!";

/// The half of the demo's secret that Legacy itself knows.
pub(crate) const KEY: &[u8] = b"This is @ $3cr3t key";

/// Everything a [`Legacy`](crate::Legacy) is started with.
#[derive(Clone)]
pub struct Config {
    /// Where to listen; port 0 lets the system choose. The unspecified addresses (`0.0.0.0`,
    /// `[::]`) mean all of this machine's, and then [`families`](Self::families) says of which
    /// kind.
    pub listen: SocketAddr,
    /// With an unspecified address: which kinds of address to listen on. Otherwise unused.
    pub families: Families,
    /// The answer of an initialised Legacy, without its newline.
    pub text: String,
    /// The half of the secret that Legacy itself knows, and answers `GET /internal/key` with.
    pub key: Vec<u8>,
    /// The operations half, if Legacy is to accept no other. Without it, any secret is accepted
    /// whose bytes contain the key and are longer.
    pub half: Option<Vec<u8>>,
    /// Start as if the handshake had been done.
    pub initialized: bool,
    /// The faults in force from the start; [`set_faults`](crate::Legacy::set_faults) changes them.
    pub faults: Faults,
    /// Where the lines of the access log go.
    pub access_log: AccessLog,
}

impl Default for Config {
    /// The demo's Legacy on a free port of `127.0.0.1`.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            families: Families::Both,
            text: TEXT.to_owned(),
            key: KEY.to_owned(),
            half: None,
            initialized: false,
            faults: Faults::default(),
            access_log: AccessLog::Keep,
        }
    }
}

/// Leaves the key and the half out.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("listen", &self.listen)
            .field("families", &self.families)
            .field("text", &self.text)
            .field("initialized", &self.initialized)
            .field("faults", &self.faults)
            .field("access_log", &self.access_log)
            .finish_non_exhaustive()
    }
}

/// The kinds of address that an unspecified address stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Families {
    /// IPv6 and IPv4 in one socket, as Go listens on `:3000`; IPv4 alone where the machine has no
    /// IPv6.
    #[default]
    Both,
    /// IPv4 alone, such as `0.0.0.0`.
    Ipv4,
    /// IPv6 alone, such as `[::]` with `IPV6_V6ONLY`.
    Ipv6,
}

/// Where the lines of the access log go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessLog {
    /// Kept in memory for [`Legacy::access_lines`](crate::Legacy::access_lines).
    #[default]
    Keep,
    /// Written to stdout, as Legacy itself does.
    Print,
}
