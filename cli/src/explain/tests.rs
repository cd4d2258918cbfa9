//! What is told of objects in a cluster, from an API server that answers out of a file, and of manifests:
//! `tests/NAME.yaml` and `tests/NAME.txt`. `RECORD=1 cargo test -p cli explain` writes the texts anew.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::{Request, Response, StatusCode};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use kube::client::Body;
use serde::Deserialize;
use serde_json::{Value, json};
use tower::service_fn;

use super::files::{self, Beside};
use super::target::Target;
use super::{read, tell, text};
use crate::cluster::Cluster;
use crate::manifest::Parts;

/// What the manifests of the webhook are in the fake cluster.
const WEBHOOK: [&str; 3] = [
    include_str!("../../../deploy/webhook/mutatingwebhookconfiguration.yaml"),
    include_str!("../../../deploy/webhook/service.yaml"),
    include_str!("../../../deploy/webhook/deployment.yaml"),
];

/// The first document of a case; the others are the cluster's objects, or the manifests.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Case {
    /// `pod/NAME`; left out where the manifests are explained.
    explain: Option<String>,
    namespace: Option<String>,
    namespace_label: Option<String>,
    /// Resources that the user may not read.
    #[serde(default)]
    forbidden: Vec<String>,
    /// The sidecar's log.
    #[serde(default)]
    log: String,
    /// Texts that are replaced in the webhook's manifests.
    #[serde(default)]
    webhook: BTreeMap<String, String>,
    #[serde(default)]
    without_webhook: bool,
}

#[tokio::test]
async fn each_case_is_told_as_it_was_written_down() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/explain/tests");
    let mut cases: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    cases.sort();
    assert!(cases.len() >= 20, "{} cases", cases.len());
    let mut failed = Vec::new();
    for case in cases {
        let told = told(&fs::read_to_string(&case).unwrap()).await;
        let golden = case.with_extension("txt");
        if std::env::var_os("RECORD").is_some() {
            fs::write(&golden, &told).unwrap();
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        if told != expected {
            failed.push(format!("{}:\n{told}\ninstead of\n{expected}", case.display()));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// The text, and under it the fields of the JSON that machines look at.
async fn told(case: &str) -> String {
    let mut documents = documents(case);
    let case_of: Case = serde_json::from_value(documents.remove(0)).unwrap();
    let (stories, others) = if let Some(target) = case_of.explain {
        if !case_of.without_webhook {
            documents.extend(manifests(&case_of.webhook));
        }
        let api = Api { objects: documents, forbidden: case_of.forbidden, log: case_of.log };
        let namespace = case_of.namespace.unwrap_or_else(|| "legacy".to_owned());
        let cluster = Cluster { client: api.client(), namespace };
        let target = Target::parse(&[target]).unwrap();
        let now: Timestamp = "2026-11-27T12:00:00Z".parse().unwrap();
        let facts = read::facts(&cluster, &target, now).await.unwrap();
        (vec![tell::story(&facts)], 0)
    } else {
        let manifests = case.split_once("\n---\n").map_or(case, |(_, manifests)| manifests);
        let beside = Beside {
            namespace: case_of.namespace.as_deref(),
            namespace_label: case_of.namespace_label.as_deref(),
        };
        let texts = [("case.yaml", manifests)];
        let (facts, others) = files::facts(texts.into_iter(), &beside).unwrap();
        (facts.iter().map(tell::story).collect(), others)
    };
    let mut told = text(&stories, others);
    for story in stories {
        let mut json = serde_json::to_value(&story).unwrap();
        for told_above in ["story", "todo", "log"] {
            json.as_object_mut().unwrap().remove(told_above).unwrap();
        }
        writeln!(told, "\n{json}").unwrap();
    }
    told
}

fn documents(text: &str) -> Vec<Value> {
    Parts::of(text).map(|part| part.unwrap().read().unwrap().value.to_json()).collect()
}

/// The webhook's objects as a cluster has them.
fn manifests(replaced: &BTreeMap<String, String>) -> Vec<Value> {
    let texts = WEBHOOK.map(|text| {
        let text = text
            .replace("value: secret-handshake-sidecar", "value: secret-handshake-sidecar:0.1.0");
        replaced.iter().fold(text, |text, (from, to)| text.replace(from, to))
    });
    let mut objects: Vec<Value> = texts.iter().flat_map(|text| documents(text)).collect();
    for object in &mut objects {
        object["metadata"]["creationTimestamp"] = json!("2026-11-01T00:00:00Z");
        if object["kind"] != "MutatingWebhookConfiguration" {
            object["metadata"]["namespace"] = json!("secret-handshake");
        }
    }
    objects
}

/// An API server with these objects.
struct Api {
    objects: Vec<Value>,
    forbidden: Vec<String>,
    log: String,
}

impl Api {
    fn client(self) -> Client {
        let api = Arc::new(self);
        let service = service_fn(move |request: Request<Body>| {
            let (status, body) = api.answer(request.uri().path(), request.uri().query());
            let answer = Response::builder().status(status).body(Body::from(body.into_bytes()));
            async move { answer }
        });
        Client::new(service, "default")
    }

    fn answer(&self, path: &str, query: Option<&str>) -> (StatusCode, String) {
        // /api/v1/…, /apis/GROUP/v1/…, and then namespaces/NAMESPACE/ for what is in one.
        let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
        let parts = &parts[if parts[0] == "api" { 2 } else { 3 }..];
        let (namespace, parts) = match parts {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some(*namespace), rest),
            parts => (None, parts),
        };
        let resource = parts[0];
        let whole = parts.iter().skip(2).fold(resource.to_owned(), |all, part| all + "/" + part);
        if self.forbidden.contains(&whole) {
            return refusal(StatusCode::FORBIDDEN);
        }
        let kind = |object: &&Value| {
            let kind = object["kind"].as_str().unwrap().to_lowercase();
            format!("{kind}s") == resource
                && (namespace.is_none() || object["metadata"]["namespace"].as_str() == namespace)
        };
        let mut found = self.objects.iter().filter(kind);
        match parts {
            [_] => {
                let selector = query.unwrap_or_default().split('&');
                let selector = selector.filter_map(|it| it.strip_prefix("labelSelector="));
                let selector = selector.collect::<String>().replace("%3D", "=").replace("%2C", ",");
                let items: Vec<&Value> =
                    found.filter(|object| is_chosen(object, &selector)).collect();
                (StatusCode::OK, json!({"metadata": {}, "items": items}).to_string())
            }
            [_, name] => match found.find(|object| object["metadata"]["name"] == *name) {
                Some(object) => (StatusCode::OK, object.to_string()),
                None => refusal(StatusCode::NOT_FOUND),
            },
            [_, _, "log"] => (StatusCode::OK, self.log.clone()),
            _ => refusal(StatusCode::BAD_REQUEST),
        }
    }
}

fn is_chosen(object: &Value, selector: &str) -> bool {
    selector.split(',').filter(|pair| !pair.is_empty()).all(|pair| {
        let (key, value) = pair.split_once('=').unwrap();
        object["metadata"]["labels"][key] == value
    })
}

fn refusal(status: StatusCode) -> (StatusCode, String) {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "code": status.as_u16(), "reason": status.canonical_reason().unwrap().replace(' ', ""),
        "message": "refused",
    });
    (status, body.to_string())
}
