//! The API server's version, which decides between native and classic sidecars.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use kube::Client;

use crate::admin::Condition;
use crate::decision::{KubernetesVersion, Policy};

/// An answered question is asked again after this time: clusters are upgraded under us.
const EVERY: Duration = Duration::from_secs(60 * 60);
/// How long one question may take, name lookup and TLS included.
const LIMIT: Duration = Duration::from_secs(5);
/// After a failure: how long to wait at first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Asks for the version now and every hour, and puts it into the policy. `first` is met when the first
/// question was answered or has failed: the mode `auto` does without an answer, it then takes the
/// classic sidecar, which every version understands.
pub(super) async fn follow(client: Client, policy: Arc<ArcSwap<Policy>>, first: Condition) {
    let mut pause = PAUSE.0;
    loop {
        let wait = match ask(&client).await {
            Ok(version) => {
                learn(&policy, version);
                pause = PAUSE.0;
                EVERY
            }
            Err(error) => {
                let known = policy.load().kubernetes_version.map(|version| version.to_string());
                tracing::warn!(
                    error = format!("{error:#}"),
                    known,
                    "can't ask the API server for its version"
                );
                let wait = pause;
                pause = (pause * 2).min(PAUSE.1);
                wait
            }
        };
        first.met();
        tokio::time::sleep(wait).await;
    }
}

async fn ask(client: &Client) -> anyhow::Result<KubernetesVersion> {
    let info = tokio::time::timeout(LIMIT, client.apiserver_version())
        .await
        .with_context(|| format!("no answer within {} s", LIMIT.as_secs()))??;
    format!("{}.{}", info.major, info.minor)
        .parse()
        .or_else(|_| info.git_version.parse())
        .context("the API server reports a version that is none")
}

fn learn(policy: &ArcSwap<Policy>, version: KubernetesVersion) {
    if policy.load().kubernetes_version != Some(version) {
        tracing::info!(%version, "API server's version");
        policy.rcu(|policy| Policy { kubernetes_version: Some(version), ..Policy::clone(policy) });
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::{Request, Response};
    use kube::client::Body;
    use tokio::time::Instant;

    use super::*;
    use crate::admin::Readiness;

    /// An API server that gives these answers, one after the other, and then none any more.
    fn api_server(answers: Vec<(u16, &'static str)>) -> Client {
        let answers = Arc::new(answers);
        let asked = Arc::new(AtomicUsize::new(0));
        let answer = move |request: Request<Body>| {
            let (answers, asked) = (Arc::clone(&answers), asked.fetch_add(1, Ordering::Relaxed));
            async move {
                assert_eq!(request.uri(), "/version");
                let Some((status, body)) = answers.get(asked) else {
                    return std::future::pending().await;
                };
                let body = Body::from(body.as_bytes().to_vec());
                let response = Response::builder().status(*status).body(body).unwrap();
                Ok::<_, Infallible>(response)
            }
        };
        Client::new(tower::service_fn(answer), "default")
    }

    #[tokio::test]
    async fn versions_as_api_servers_report_them() {
        for (body, expected) in [
            (r#"{"major":"1","minor":"34","gitVersion":"v1.34.1"}"#, Some("1.34")),
            (r#"{"major":"1","minor":"31+","gitVersion":"v1.31.5-eks-1"}"#, Some("1.31")),
            (r#"{"major":"","minor":"","gitVersion":"v1.30.0"}"#, Some("1.30")),
            (r#"{"major":"x","minor":"y","gitVersion":"z"}"#, None),
            ("{}", None),
            ("", None),
        ] {
            let version = ask(&api_server(vec![(200, body)])).await.ok();
            let version = version.map(|version| version.to_string());
            assert_eq!(version.as_deref(), expected, "{body}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_does_not_answer_is_not_waited_for() {
        let start = Instant::now();
        assert!(ask(&api_server(Vec::new())).await.is_err());
        assert!(start.elapsed() < LIMIT * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_tried_again_soon_and_an_answer_asked_for_again_in_an_hour() {
        let server = api_server(vec![
            (500, ""),
            (200, r#"{"major":"1","minor":"31"}"#),
            (503, ""),
            (200, r#"{"major":"1","minor":"32"}"#),
        ]);
        let policy = Arc::new(ArcSwap::from_pointee(Policy::default()));
        let readiness = Readiness::default();
        let first = readiness.condition("kubernetes-version", "not asked for yet");
        tokio::spawn(follow(server, Arc::clone(&policy), first));
        let start = Instant::now();
        let mut seen = Vec::new();
        while start.elapsed() < EVERY + PAUSE.1 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            // Ready although the first answer was a failure.
            assert!(readiness.reasons().is_empty());
            let version = policy.load().kubernetes_version;
            if seen.last().is_none_or(|(_, last)| *last != version) {
                seen.push((start.elapsed(), version));
            }
        }
        let [(_, None), (soon, Some(old)), (later, Some(new))] = seen[..] else {
            panic!("{seen:?}");
        };
        assert_eq!((old.to_string(), new.to_string()), ("1.31".into(), "1.32".into()));
        assert!(soon >= PAUSE.0 && soon < PAUSE.0 * 2, "{soon:?}");
        assert!(later >= EVERY && later < EVERY + PAUSE.1, "{later:?}");
    }
}
