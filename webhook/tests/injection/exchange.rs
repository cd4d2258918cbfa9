//! One review and its answer, with the patch taken out of its base64 and applied.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use injection::{Metadata, Policy};
use serde_json::{Value, json};
use webhook::review::{self, Answer, Endpoint};

/// What came back for a request.
pub(crate) struct Exchange {
    /// The `response`, without its patch.
    pub(crate) response: Value,
    pub(crate) patch: Option<json_patch::Patch>,
    /// The object after the patch; null if the request has none.
    pub(crate) object: Value,
    pub(crate) answer: Answer,
}

impl Exchange {
    /// Sends a review, and checks what holds for every answer.
    pub(crate) fn of(
        endpoint: Endpoint,
        review: &Value,
        namespace: Option<&Metadata>,
        policy: &Policy,
    ) -> Self {
        let body = serde_json::to_vec(review).unwrap();
        let answer = review::answer(endpoint, &body, namespace, policy)
            .unwrap_or_else(|unreadable| panic!("{unreadable}: {review:#}"));
        let mut reply: Value = serde_json::from_slice(&answer.body).expect("the answer is JSON");
        assert_eq!(reply["apiVersion"], "admission.k8s.io/v1");
        assert_eq!(reply["kind"], "AdmissionReview");
        assert_eq!(reply["response"]["uid"], review["request"]["uid"], "the uid is echoed");

        let mut response = reply["response"].take();
        let fields = response.as_object_mut().expect("a response");
        let patch = fields.remove("patch").map(|patch| {
            let patch = STANDARD.decode(patch.as_str().expect("a text")).expect("base64");
            serde_json::from_slice::<json_patch::Patch>(&patch).expect("a JSON Patch")
        });
        assert_eq!(patch.is_some(), response["patchType"] == "JSONPatch");
        let mut object = review["request"]["object"].clone();
        if let Some(patch) = &patch {
            assert!(!patch.is_empty(), "a patch that does nothing needn't be sent");
            assert_eq!(response["allowed"], true, "what is refused isn't patched");
            json_patch::patch(&mut object, patch).expect("the patch fits the object");
        }
        for warning in response["warnings"].as_array().into_iter().flatten() {
            let warning = warning.as_str().expect("a text");
            assert!(warning.chars().count() <= 256, "kubectl may cut this: {warning}");
        }
        Self { response, patch, object, answer }
    }

    /// Sends a pod as the API server does when it is created.
    pub(crate) fn of_pod(pod: &Value, policy: &Policy) -> Self {
        Self::of(Endpoint::Pods, &pod_review(pod), None, policy)
    }

    pub(crate) fn allowed(&self) -> bool {
        self.response["allowed"].as_bool().expect("a verdict")
    }

    /// The sidecar in the patched pod, if there is one, and the list it is in.
    pub(crate) fn sidecar(&self) -> Option<(&'static str, &Value)> {
        ["containers", "initContainers"].into_iter().find_map(|list| {
            let containers = self.object["spec"][list].as_array()?;
            Some((
                list,
                containers.iter().find(|container| container["name"] == "secret-handshake")?,
            ))
        })
    }
}

/// The review of a pod that is created in the namespace `legacy`.
pub(crate) fn pod_review(pod: &Value) -> Value {
    let kind = json!({"group": "", "version": "v1", "kind": "Pod"});
    let resource = json!({"group": "", "version": "v1", "resource": "pods"});
    json!({
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": "0d7f3f6c-5c38-4f5d-9a0e-1f2b6a1c7d11", "kind": kind, "resource": resource,
            "namespace": "legacy", "operation": "CREATE", "object": pod, "oldObject": null, "dryRun": false,
        },
    })
}

/// The review of a workload; its kind is `apps` or `batch`, and what the object says.
pub(crate) fn workload_review(operation: &str, group: &str, object: &Value) -> Value {
    json!({
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": "5b1e7c1a-93a4-4c0c-8f0e-7a4b7f0b1c22",
            "kind": {"group": group, "version": "v1", "kind": object["kind"]},
            "namespace": "legacy", "operation": operation, "object": object,
        },
    })
}

/// A policy with an image that no release of this project changes.
pub(crate) fn policy() -> Policy {
    Policy {
        image: "registry.example.com/secret-handshake-sidecar:1.0.0".to_owned(),
        own_namespace: Some("secret-handshake".to_owned()),
        ..Policy::default()
    }
}
