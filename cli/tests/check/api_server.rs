//! As much of an API server as `check` asks for: lists that are empty but for one namespace and its pods.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

/// What is in the Secret that the sidecars read, and in the one of the CAs; in base64.
pub(crate) const HALF: &str = "d2hhdC1ub2JvZHktbWF5LXNlZQ==";
pub(crate) const CA_KEY: &str = "bm90LWEtbGlzdC1vZi1DQXM=";

pub(crate) struct ApiServer {
    pub(crate) url: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl ApiServer {
    /// One with this many pods, of which every second one has a sidecar.
    pub(crate) fn start(pods: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let known = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let asked = Arc::clone(&known);
                thread::spawn(move || serve(&stream, pods, &asked));
            }
        });
        Self { url, asked }
    }

    pub(crate) fn asked(&self, part: &str) -> bool {
        self.asked.lock().unwrap().iter().any(|path| path.contains(part))
    }

    /// How many pages of pods have been asked for.
    pub(crate) fn pages(&self) -> usize {
        self.asked.lock().unwrap().iter().filter(|path| path.starts_with("/api/v1/pods?")).count()
    }
}

/// Answers the requests of a connection until it ends.
fn serve(stream: &TcpStream, pods: usize, asked: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            match reader.read_line(&mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) if line == "\r\n" => break,
                Ok(_) => lines.push(line.trim().to_lowercase()),
            }
        }
        let length =
            lines.iter().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body).unwrap();
        let path = lines[0].split(' ').nth(1).unwrap().to_owned();
        asked.lock().unwrap().push(path.clone());
        let (status, answer) = answer(&path, &body, pods);
        let answer = answer.to_string();
        let head = format!(
            "HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {}\r\nDate: {}\r\n\r\n",
            answer.len(),
            jiff::fmt::rfc2822::to_string(
                &jiff::Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC)
            )
            .unwrap(),
        );
        let mut stream = stream;
        if stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(answer.as_bytes()))
            .is_err()
        {
            return;
        }
    }
}

fn answer(path: &str, body: &[u8], pods: usize) -> (u16, Value) {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let list = |items: Vec<Value>, next: &str| json!({ "kind": "List", "apiVersion": "v1", "metadata": { "continue": next }, "items": items });
    match path {
        "/version" => (
            200,
            json!({ "major": "1", "minor": "37", "gitVersion": "v1.37.2", "gitCommit": "",
            "gitTreeState": "", "buildDate": "", "goVersion": "", "compiler": "", "platform": "" }),
        ),
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews" => {
            let mut review: Value = serde_json::from_slice(body).unwrap();
            review["status"] = json!({ "allowed": true });
            (201, review)
        }
        "/api/v1/namespaces" => {
            let legacy = json!({ "metadata": { "name": "legacy", "labels": { "secret-handshake": "true" } } });
            (200, list(vec![legacy], ""))
        }
        "/api/v1/pods" => {
            let parameter = |name: &str| {
                let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
                pairs
                    .find(|(key, _)| *key == name)
                    .and_then(|(_, value)| value.parse::<usize>().ok())
            };
            let (from, limit) = (parameter("continue").unwrap_or(0), parameter("limit").unwrap());
            let to = (from + limit).min(pods);
            let next = if to < pods { to.to_string() } else { String::new() };
            (200, list((from..to).map(pod).collect(), &next))
        }
        "/api/v1/namespaces/legacy/secrets/half-of-it" => {
            (200, json!({ "metadata": { "name": "half-of-it" }, "data": { "half": HALF } }))
        }
        "/api/v1/namespaces/secret-handshake/secrets/secret-handshake-ca" => {
            (200, json!({ "metadata": { "resourceVersion": "1" }, "data": { "cas.json": CA_KEY } }))
        }
        path if path.ends_with('s') && !path.contains("/services/") => (200, list(Vec::new(), "")),
        _ => (
            404,
            json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404,
            "reason": "NotFound", "message": "not found" }),
        ),
    }
}

/// About as large as pods are: 6 KB.
fn pod(number: usize) -> Value {
    let has_sidecar = number.is_multiple_of(2);
    let workload = if has_sidecar { "new" } else { "old" };
    let environment: Vec<_> = (0..40)
        .map(|number| json!({ "name": format!("VARIABLE_{number}"), "value": "x".repeat(40) }))
        .collect();
    let mut containers = vec![json!({ "name": "legacy", "image": "legacy:1", "env": environment })];
    let mut statuses = vec![
        json!({ "name": "legacy", "ready": true, "image": "", "imageID": "", "restartCount": 0 }),
    ];
    if has_sidecar {
        containers.push(json!({ "name": "secret-handshake", "image": "sidecar:1",
            "args": ["--legacy-port=3000", "--secret=half-of-it", "--secret-key=half"] }));
        statuses.push(json!({ "name": "secret-handshake", "ready": true, "image": "", "imageID": "", "restartCount": 0 }));
    }
    json!({
        "metadata": {
            "namespace": "legacy",
            "name": format!("{workload}-5d9-{number}"),
            "labels": { "pod-template-hash": "5d9" },
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "uid": "u", "controller": true,
                "name": format!("{workload}-5d9") }],
            "managedFields": [{ "manager": "kubelet", "fieldsV1": { "f:status": { "f:conditions": {} } } }],
        },
        "spec": { "containers": containers },
        "status": { "phase": "Running", "containerStatuses": statuses,
            "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z" }] },
    })
}
