//! A kubelet's readiness probe: asked again and again, and what follows from the answers.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::{Container, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use lab::http::probe;
use lab::network::localhost;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::screen::{self, Who};

/// A readiness probe at work, until it is dropped.
#[derive(Debug)]
pub(crate) struct Readiness {
    ready: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

/// Where and how often to ask, and how many answers count.
#[derive(Clone, Debug)]
struct Plan {
    port: u16,
    path: String,
    period: Duration,
    timeout: Duration,
    failures: i32,
    successes: i32,
}

impl Readiness {
    /// Begins to ask as the container's `readinessProbe` says.
    pub(crate) fn watch(container: &Container) -> Result<Self> {
        let plan = Plan::of(container)
            .with_context(|| format!("{} has no readinessProbe over HTTP", container.name))?;
        let (sender, ready) = watch::channel(false);
        let task = tokio::spawn(async move { ask(&plan, &sender).await });
        Ok(Self { ready, task })
    }

    /// Waits until the pod is ready, or is not any more.
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

impl Plan {
    fn of(container: &Container) -> Option<Self> {
        let probe: &Probe = container.readiness_probe.as_ref()?;
        let http = probe.http_get.as_ref()?;
        let port = match &http.port {
            IntOrString::Int(port) => *port,
            IntOrString::String(name) => {
                let mut ports = container.ports.iter().flatten();
                ports.find(|port| port.name.as_ref() == Some(name))?.container_port
            }
        };
        let seconds = |value: Option<i32>, default: u64| {
            let value = value.and_then(|value| u64::try_from(value).ok());
            Duration::from_secs(value.filter(|value| *value > 0).unwrap_or(default))
        };
        Some(Self {
            port: u16::try_from(port).ok()?,
            path: http.path.clone().unwrap_or_else(|| "/".to_owned()),
            period: seconds(probe.period_seconds, 10),
            timeout: seconds(probe.timeout_seconds, 1),
            failures: probe.failure_threshold.unwrap_or(3),
            successes: probe.success_threshold.unwrap_or(1),
        })
    }
}

async fn ask(plan: &Plan, ready: &watch::Sender<bool>) {
    let mut ticks = interval(plan.period);
    // After an answer that was held for longer than a period, a kubelet asks again at once.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut failures, mut successes) = (0, 0);
    loop {
        ticks.tick().await;
        let (good, told) = match probe(localhost(plan.port), &plan.path, plan.timeout).await {
            Ok(answer) => ((200..400).contains(&answer.status), answer.status.to_string()),
            Err(_) => (false, "no answer in time".to_owned()),
        };
        (failures, successes) = if good { (0, successes + 1) } else { (failures + 1, 0) };
        let was = *ready.borrow();
        let now =
            if good { was || successes >= plan.successes } else { was && failures < plan.failures };
        if now != was {
            let (port, path) = (plan.port, &plan.path);
            let state = if now {
                "READY, its Service may send callers"
            } else {
                "NOT READY, its Service sends no callers"
            };
            screen::line(
                Who::Kubelet,
                format_args!("GET :{port}{path} {told}: the pod is {state}"),
            );
            ready.send_replace(now);
        }
    }
}
