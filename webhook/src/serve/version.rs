//! One look at the API server's version, at the start.

use std::time::Duration;

use anyhow::Context as _;
use kube::Client;

/// The oldest minor version of Kubernetes 1 that is supported: every kubelet that may join such a
/// cluster knows native sidecars (KEP-753: on by default since 1.29; a kubelet may be three minor
/// versions older than its API server).
const OLDEST_MINOR: u32 = 32;
/// How long the question may take, name lookup and TLS included.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Logs one warning if the API server is older than what is supported. An API server that can't be
/// asked is no reason to complain here: whatever else needs it says so.
pub(super) async fn warn_if_too_old(client: Client) {
    match ask(&client).await {
        Ok(version) if is_too_old(&version) => tracing::warn!(
            version,
            "this API server is older than Kubernetes 1.{OLDEST_MINOR}, the oldest version that is \
             supported: on older nodes a pod that ends may wait for its sidecar"
        ),
        Ok(version) => tracing::debug!(version, "API server"),
        Err(error) => {
            tracing::debug!(error = format!("{error:#}"), "can't ask the API server's version");
        }
    }
}

/// The version as `MAJOR.MINOR`.
async fn ask(client: &Client) -> anyhow::Result<String> {
    let info = tokio::time::timeout(TIMEOUT, client.apiserver_version())
        .await
        .with_context(|| format!("no answer within {} s", TIMEOUT.as_secs()))??;
    Ok(format!("{}.{}", info.major, info.minor))
}

/// Whether this is a version of Kubernetes 1 below the oldest one supported. Clouds append to the
/// minor version (`1.31+`); what can't be read is not complained about.
fn is_too_old(version: &str) -> bool {
    let minor = version.strip_prefix("1.").map(|minor| {
        let digits = minor.bytes().take_while(u8::is_ascii_digit).count();
        minor[..digits].parse::<u32>()
    });
    matches!(minor, Some(Ok(minor)) if minor < OLDEST_MINOR)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::{Request, Response};
    use kube::client::Body;
    use tokio::time::Instant;

    use super::*;

    /// An API server that answers `/version` with this; with `None`, it never answers.
    fn api_server(answer: Option<&'static str>) -> Client {
        let answer = move |request: Request<Body>| async move {
            assert_eq!(request.uri(), "/version");
            let Some(body) = answer else { return std::future::pending().await };
            Ok::<_, Infallible>(Response::new(Body::from(body.as_bytes().to_vec())))
        };
        Client::new(tower::service_fn(answer), "default")
    }

    #[tokio::test]
    async fn only_a_version_below_1_32_is_too_old() {
        for (major, minor, too_old) in [
            ("1", "37", false),
            ("1", "32", false),
            ("1", "32+", false),
            ("1", "31", true),
            ("1", "31+", true),
            ("1", "9", true),
            ("2", "0", false),
            ("", "", false),
            ("1", "x", false),
        ] {
            let body = format!(r#"{{"major":"{major}","minor":"{minor}","gitVersion":"v"}}"#);
            let version = ask(&api_server(Some(body.leak()))).await.unwrap();
            assert_eq!(is_too_old(&version), too_old, "{version}");
        }
        assert!(ask(&api_server(Some("no JSON"))).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_does_not_answer_is_given_up() {
        let start = Instant::now();
        assert!(ask(&api_server(None)).await.is_err());
        assert!(start.elapsed() < TIMEOUT * 2);
    }
}
