//! `webhook cert`: asks running webhooks over their admin ports.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::header::HOST;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::admin::Form;
use crate::args::CertCommand;

/// For one webhook's answer, all in all.
const LIMIT: Duration = Duration::from_secs(10);
/// More than a report ever has, in bytes.
const MAX_REPORT: usize = 1 << 20;

/// Answers the question on the standard output.
///
/// # Errors
/// If a webhook can't be reached; those after it are not asked then.
pub fn run(command: CertCommand) -> anyhow::Result<()> {
    let CertCommand::Status { admin, output } = command;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("can't start the runtime")?;
    let mut out = std::io::stdout().lock();
    for address in admin {
        let report = runtime
            .block_on(async { tokio::time::timeout(LIMIT, ask(&address, output)).await })
            .map_err(anyhow::Error::from)
            .and_then(|report| report)
            .with_context(|| format!("no answer from {address}: is it a webhook's admin port?"))?;
        out.write_all(&report).context("can't write the report")?;
    }
    Ok(())
}

async fn ask(address: &str, form: Form) -> anyhow::Result<Bytes> {
    let tcp = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(tcp)).await?;
    tokio::spawn(connection);
    let request = Request::get(form.path()).header(HOST, address).body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    ensure!(response.status() == StatusCode::OK, "it answered {}", response.status());
    let body = Limited::new(response.into_body(), MAX_REPORT);
    Ok(body.collect().await.map_err(anyhow::Error::from_boxed)?.to_bytes())
}
