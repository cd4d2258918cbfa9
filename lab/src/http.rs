//! One plain HTTP GET over a connection of its own.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reqwest::Client;
use reqwest::redirect::Policy;

use crate::until::until;

#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    /// The body; bytes that are not UTF-8 are replaced.
    pub body: String,
}

/// Asks for `path`, and waits for the whole answer for at most `limit`.
pub async fn get(address: SocketAddr, path: &str, limit: Duration) -> Result<Answer> {
    ask(address, path, "curl/8.5.0", limit).await
}

/// The same, as a kubelet does.
pub async fn probe(address: SocketAddr, path: &str, limit: Duration) -> Result<Answer> {
    ask(address, path, "kube-probe/1.34", limit).await
}

/// Waits until `path` is answered with `status`. An answer that takes over two seconds counts as none.
pub async fn answers(address: SocketAddr, path: &str, status: u16, limit: Duration) -> Result<()> {
    until(&format!("{status} from {path} at {address}"), limit, async || {
        let answer = get(address, path, Duration::from_secs(2)).await?;
        ensure!(answer.status == status, "{} {}", answer.status, answer.body.trim());
        Ok(())
    })
    .await
}

async fn ask(address: SocketAddr, path: &str, agent: &str, limit: Duration) -> Result<Answer> {
    static CLIENT: LazyLock<reqwest::Result<Client>> = LazyLock::new(|| {
        Client::builder()
            .no_proxy()
            .http1_only()
            .redirect(Policy::none())
            .pool_max_idle_per_host(0)
            .build()
    });
    let client = CLIENT.as_ref().context("there is no HTTP client")?;
    let url = format!("http://{address}{path}");
    let request = client.get(&url).header("connection", "close").header("user-agent", agent);
    let asked = async {
        let answer = request.timeout(limit).send().await?;
        let status = answer.status().as_u16();
        Ok::<_, reqwest::Error>(Answer { status, body: answer.text().await? })
    };
    asked.await.with_context(|| format!("GET {url}"))
}
