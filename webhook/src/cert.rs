//! `webhook cert`: asks running webhooks over their admin ports.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::args::CertCommand;

/// For connecting, and for each read and write.
const LIMIT: Duration = Duration::from_secs(5);
/// More than a report ever has, in bytes.
const MAX_REPORT: u64 = 1 << 20;

/// Answers the question on the standard output.
///
/// # Errors
/// If a webhook can't be reached; those after it are not asked then.
pub fn run(command: CertCommand) -> anyhow::Result<()> {
    let CertCommand::Status { admin } = command;
    let mut out = std::io::stdout().lock();
    for address in admin {
        let report = ask(&address)
            .with_context(|| format!("no answer from {address}: is it a webhook's admin port?"))?;
        writeln!(out, "{address}\n{report}").context("can't write the report")?;
    }
    Ok(())
}

/// One request, one answer, and the connection ends: HTTP at its simplest.
fn ask(address: &str) -> anyhow::Result<String> {
    let found: SocketAddr = address
        .to_socket_addrs()?
        .next()
        .context("the name has no address")?;
    let mut tcp = TcpStream::connect_timeout(&found, LIMIT)?;
    tcp.set_read_timeout(Some(LIMIT))?;
    tcp.set_write_timeout(Some(LIMIT))?;
    write!(tcp, "GET /cert HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    tcp.take(MAX_REPORT).read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, report)) if head.contains(" 200 ") => Ok(report.to_owned()),
        Some((head, _)) => bail!("{}", head.lines().next().unwrap_or_default()),
        None => bail!("what it said is not HTTP"),
    }
}
