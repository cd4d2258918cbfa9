//! Pods that run: what is waited for, what is read and what is asked of them.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::objects::{NAME, object, pod};
use super::scene::{LONG, Scene};
use crate::product::Product;
use k8s_openapi::api::core::v1 as core;
use kube::api::LogParams;
use lab::cluster::api::{Api, Refused, condition};
use lab::http;
use lab::until::until;

pub(crate) const HALF: &str = "-acknowledge";

/// Legacy as a pod that runs, with these arguments. It is labelled.
pub(crate) fn legacy(namespace: &str, name: &str, arguments: &[&str]) -> Value {
    let mut pod = pod(namespace, name);
    pod["metadata"]["labels"] = json!({ NAME: "true", "app": name });
    pod["spec"]["containers"][0]["image"] = json!(Product::LEGACY_MOCK.reference());
    pod["spec"]["containers"][0]["imagePullPolicy"] = json!("IfNotPresent");
    pod["spec"]["containers"][0]["args"] = json!(arguments);
    pod
}

/// The same, with a pod template of a Deployment around it.
pub(crate) fn legacy_deployment(namespace: &str, name: &str, arguments: &[&str]) -> Value {
    let pod = legacy(namespace, name, arguments);
    let template =
        json!({ "metadata": { "labels": pod["metadata"]["labels"] }, "spec": pod["spec"] });
    let spec = json!({ "selector": { "matchLabels": { "app": name } }, "template": template });
    object("apps/v1", "Deployment", namespace, name, &spec)
}

pub(crate) fn service(namespace: &str, app: &str) -> Value {
    let spec = json!({ "selector": { "app": app }, "ports": [{ "name": "http", "port": 3000 }] });
    object("v1", "Service", namespace, app, &spec)
}

pub(crate) async fn set_half(
    scene: &Scene,
    namespace: &str,
    name: &str,
    key: &str,
    half: &str,
) -> Result<()> {
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "namespace": namespace, "name": name },
        "stringData": { key: half },
    });
    scene.api().apply(&secret, "e2e").await?;
    Ok(())
}

pub(crate) async fn namespace_with_half(scene: &Scene) -> Result<String> {
    let namespace = scene.namespace(&[]).await?;
    set_half(scene, &namespace, NAME, "half", HALF).await?;
    Ok(namespace)
}

pub(crate) fn is_ready(pod: &Value) -> Result<()> {
    ensure!(condition(pod, "Ready")["status"] == "True", "{}", state_of(pod));
    Ok(())
}

pub(crate) async fn ready(scene: &Scene, namespace: &str, name: &str) -> Result<Value> {
    let pod = ("Pod", namespace, name);
    scene.api().wait(pod, LONG, |pod| is_ready(pod).map(|()| pod.clone())).await
}

/// Waits until an app has this many pods and all of them are Ready, and gives them.
pub(crate) async fn ready_pods(
    scene: &Scene,
    namespace: &str,
    app: &str,
    count: usize,
) -> Result<Vec<Value>> {
    /// For as many as forty, on a slow machine.
    const ALL: Duration = Duration::from_secs(600);
    let selector = format!("app={app}");
    let all_ready = |pods: &[&Value]| {
        ensure!(pods.len() == count, "there are {} pods instead of {count}", pods.len());
        pods.iter().map(|pod| is_ready(pod).map(|()| (*pod).clone())).collect()
    };
    scene.api().wait_all(("Pod", namespace, &selector), ALL, all_ready).await
}

pub(crate) async fn ready_app(scene: &Scene, namespace: &str, app: &str) -> Result<Value> {
    ready_pods(scene, namespace, app, 1).await?.pop().context("it was there a moment ago")
}

/// Waits until a container of a pod has been started again and the pod is Ready, and gives the pod.
pub(crate) async fn restarted(
    scene: &Scene,
    namespace: &str,
    name: &str,
    container: &str,
) -> Result<Value> {
    let again = |pod: &Value| {
        ensure!(restarts(pod, container) == 1, "{} restarts", restarts(pod, container));
        is_ready(pod).map(|()| pod.clone())
    };
    scene.api().wait(("Pod", namespace, name), LONG, again).await
}

pub(crate) async fn running(
    scene: &Scene,
    namespace: &str,
    name: &str,
    container: &str,
) -> Result<Value> {
    let runs = |pod: &Value| {
        let status = container_status(pod, container);
        ensure!(!status["state"]["running"].is_null(), "{}", state_of(pod));
        Ok(pod.clone())
    };
    scene.api().wait(("Pod", namespace, name), LONG, runs).await
}

pub(crate) fn container_status<'a>(pod: &'a Value, container: &str) -> &'a Value {
    ["containerStatuses", "initContainerStatuses"]
        .iter()
        .filter_map(|list| pod["status"][list].as_array())
        .flatten()
        .find(|status| status["name"] == container)
        .unwrap_or(&Value::Null)
}

pub(crate) fn restarts(pod: &Value, container: &str) -> u64 {
    container_status(pod, container)["restartCount"].as_u64().unwrap_or_default()
}

pub(crate) fn state_of(pod: &Value) -> String {
    let mut words = vec![format!("phase {}", pod["status"]["phase"])];
    for list in ["initContainerStatuses", "containerStatuses"] {
        for status in pod["status"][list].as_array().into_iter().flatten() {
            let [name, ready, state] = ["name", "ready", "state"].map(|field| &status[field]);
            words.push(format!("{name} ready: {ready}, {state}"));
        }
    }
    words.join("; ")
}

pub(crate) fn address(pod: &Value, port: u16) -> Result<SocketAddr> {
    let ip: IpAddr = pod["status"]["podIP"].as_str().context("the pod has no address")?.parse()?;
    Ok(SocketAddr::new(ip, port))
}

pub(crate) async fn log(
    scene: &Scene,
    namespace: &str,
    pod: &str,
    container: &str,
) -> Result<String> {
    let pods = kube::Api::<core::Pod>::namespaced(scene.api().client(), namespace);
    let params = LogParams { container: Some(container.to_owned()), ..LogParams::default() };
    Ok(pods.logs(pod, &params).await?)
}

/// Waits until the sidecar's log has a line with all of `words`, and gives the line.
pub(crate) async fn sidecar_says(
    scene: &Scene,
    namespace: &str,
    pod: &str,
    words: &[&str],
) -> Result<String> {
    until(&format!("the sidecar to say {}", words.join(" … ")), LONG, async || {
        let log = log(scene, namespace, pod, NAME).await?;
        let line = log.lines().find(|line| words.iter().all(|word| line.contains(word)));
        line.map(str::to_owned).with_context(|| format!("its log is\n{log}"))
    })
    .await
}

/// When a port accepts a connection for the first time, looked for every half millisecond.
pub(crate) async fn first_listen(address: SocketAddr) -> Instant {
    let mut ticks = tokio::time::interval(Duration::from_micros(500));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if TcpStream::connect(address).await.is_ok() {
            return Instant::now();
        }
    }
}

/// Answers of Legacy, as a caller of its Service sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Works,
    Uninitialized,
    /// No answer from Legacy: there is no pod that is Ready.
    NoAnswer,
}

/// Asks a Service again and again, and keeps what it saw.
pub(crate) struct Caller {
    seen: Arc<Mutex<Vec<(Instant, Seen)>>>,
    task: JoinHandle<()>,
}

#[derive(Clone)]
pub(crate) enum Route {
    Address(SocketAddr),
    Proxy(Api, String),
}

impl Route {
    pub(crate) async fn to(scene: &Scene, namespace: &str, name: &str) -> Result<Self> {
        if scene.cluster().node().is_err() {
            let path = format!("/api/v1/namespaces/{namespace}/services/{name}:http/proxy/");
            return Ok(Self::Proxy(scene.api().clone(), path));
        }
        let service = scene.api().get("Service", namespace, name).await?;
        let ip: IpAddr = service["spec"]["clusterIP"].as_str().context("no address")?.parse()?;
        Ok(Self::Address(SocketAddr::new(ip, 3000)))
    }

    pub(crate) async fn ask(&self) -> Seen {
        let body = match self {
            Self::Address(address) => {
                let answer = http::get(*address, "/", Duration::from_secs(2)).await;
                answer.ok().map(|answer| answer.body)
            }
            Self::Proxy(api, path) => match api.text(path).await {
                Ok(body) => Some(body),
                Err(error) => error.downcast::<Refused>().ok().map(|refused| refused.message),
            },
        };
        match body.as_deref().map(str::trim) {
            Some("It works!") => Seen::Works,
            Some("Uninitialized") => Seen::Uninitialized,
            _ => Seen::NoAnswer,
        }
    }
}

impl Caller {
    pub(crate) fn start(route: Route) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(2));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                let asked = Instant::now();
                let answer = route.ask().await;
                kept.lock().await.push((asked, answer));
            }
        });
        Self { seen, task }
    }

    pub(crate) async fn seen(&self) -> Vec<(Instant, Seen)> {
        self.seen.lock().await.clone()
    }

    pub(crate) async fn count(&self, wanted: Seen) -> usize {
        self.seen.lock().await.iter().filter(|(_, what)| *what == wanted).count()
    }

    /// Waits until it has seen `wanted` after `since`, and says when that was asked.
    pub(crate) async fn until(&self, wanted: Seen, since: Instant) -> Result<Instant> {
        until(&format!("{wanted:?} through the Service"), LONG, async || {
            let seen = self.seen().await;
            let found = seen.iter().find(|(when, what)| *when >= since && *what == wanted);
            found.map(|(when, _)| *when).with_context(|| format!("last: {:?}", seen.last()))
        })
        .await
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.task.abort();
    }
}
