//! A kubelet's readiness probe: asked again and again, and what follows from the answers.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use lab::http;
use lab::network::localhost;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::screen::{Who, line};

/// A readiness probe at work, until it is dropped.
#[derive(Debug)]
pub(crate) struct Readiness {
    ready: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

impl Readiness {
    pub(crate) fn watch(container: &Container) -> Result<Self> {
        let probe = container.readiness_probe.clone();
        let probe = probe.with_context(|| format!("{} has no readinessProbe", container.name))?;
        let http = probe.http_get.clone().context("it is no probe over HTTP")?;
        let IntOrString::Int(port) = http.port else { bail!("it names its port") };
        let (port, path) = (u16::try_from(port)?, http.path.unwrap_or_else(|| "/".to_owned()));
        let (sender, ready) = watch::channel(false);
        let task = tokio::spawn(async move { ask(&probe, port, &path, &sender).await });
        Ok(Self { ready, task })
    }

    pub(crate) async fn until(&self, ready: bool, limit: Duration) -> Result<()> {
        let mut watched = self.ready.clone();
        match timeout(limit, watched.wait_for(|now| *now == ready)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => bail!("the probe has ended"),
            Err(_) => {
                let wanted = if ready { "ready" } else { "unready" };
                bail!("the pod did not become {wanted} within {limit:?}")
            }
        }
    }
}

impl Drop for Readiness {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn ask(probe: &Probe, port: u16, path: &str, ready: &watch::Sender<bool>) {
    let seconds = |value: Option<i32>, default| {
        Duration::from_secs(value.and_then(|value| value.try_into().ok()).unwrap_or(default))
    };
    let mut ticks = interval(seconds(probe.period_seconds, 10).max(Duration::from_secs(1)));
    // After an answer that was held for longer than a period, a kubelet asks again at once.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let limit = seconds(probe.timeout_seconds, 1);
    let (mut failures, mut successes) = (0, 0);
    loop {
        ticks.tick().await;
        let (good, told) = match http::probe(localhost(port), path, limit).await {
            Ok(answer) => ((200..400).contains(&answer.status), answer.status.to_string()),
            Err(_) => (false, "no answer in time".to_owned()),
        };
        (failures, successes) = if good { (0, successes + 1) } else { (failures + 1, 0) };
        let was = *ready.borrow();
        let now = if good {
            was || successes >= probe.success_threshold.unwrap_or(1)
        } else {
            was && failures < probe.failure_threshold.unwrap_or(3)
        };
        if now != was {
            let state = if now {
                "READY, its Service may send callers"
            } else {
                "NOT READY, its Service sends no callers"
            };
            line(Who::KUBELET, format_args!("GET :{port}{path} {told}: the pod is {state}"));
            ready.send_replace(now);
        }
    }
}
