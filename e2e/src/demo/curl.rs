//! A caller of Legacy, as its Service would send one.

use std::time::Duration;

use anyhow::{Context as _, Result};
use lab::http::get;
use lab::network::localhost;

use super::screen;

/// How long Legacy may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Asks for `/` and shows what curl would show.
pub(crate) async fn curl(port: u16) -> Result<(u16, String)> {
    screen::command(format_args!(r"curl -sw '%{{http_code}}\n' http://localhost:{port}/"));
    let answer = get(localhost(port), "/", LIMIT).await.context("Legacy can't be asked")?;
    let body = answer.body.trim_end().to_owned();
    for line in [&body, &answer.status.to_string()] {
        screen::output(line, answer.status == 200);
    }
    Ok((answer.status, body))
}
