//! Another network namespace, as a client inside it sees it.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

const LIMIT: Duration = Duration::from_secs(10);

/// The network namespace that a process is in, kept open for as long as this lives.
#[derive(Debug)]
pub struct Network(File);

impl Network {
    /// That of the process `pid`.
    pub fn of(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/ns/net");
        Ok(Self(File::open(&path).with_context(|| format!("opening {path}"))?))
    }

    /// Connects to `port` on the namespace's own localhost. Sockets stay in the namespace that they
    /// were made in, so only a thread of its own ever enters it.
    pub fn connect(&self, port: u16) -> Result<TcpStream> {
        let connect = || -> Result<TcpStream> {
            move_into_link_name_space(self.0.as_fd(), Some(LinkNameSpaceType::Network))
                .context("entering a network namespace, which only root can")?;
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let stream = TcpStream::connect_timeout(&address, LIMIT)?;
            stream.set_read_timeout(Some(LIMIT))?;
            stream.set_write_timeout(Some(LIMIT))?;
            Ok(stream)
        };
        std::thread::scope(|scope| scope.spawn(connect).join())
            .unwrap_or_else(|_| bail!("connecting to port {port} panicked"))
    }

    /// `GET path` on `port`: the status and the body.
    pub fn get(&self, port: u16, path: &str) -> Result<(u16, String)> {
        let mut stream = self.connect(port)?;
        ask(&mut stream, path)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
        status.zip(body).with_context(|| format!("not an HTTP answer: {answer:?}"))
    }
}

/// Writes a GET request and leaves the answer to be read.
pub fn ask(stream: &mut TcpStream, path: &str) -> Result<()> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    Ok(stream.write_all(request.as_bytes())?)
}
