//! The network policy of `deploy/webhook`. Nothing enforces it on a node made here, so it is read as an
//! engine would read it, and held against what is really there.

use std::collections::BTreeSet;

use super::prelude::*;

scenarios! {
    policy: Node, Together, "network/policy",
        "the webhook's network policy lets in the API server and the kubelet, and lets out to the API server";
}

async fn policy(scene: &Scene) -> Result<()> {
    let policy = scene.api().get("NetworkPolicy", NAMESPACE, WEBHOOK).await?;
    let spec = &policy["spec"];
    let selector = spec["podSelector"]["matchLabels"].as_object().context("selects by no label")?;
    let pods: Vec<Value> = scene
        .api()
        .list("Pod", NAMESPACE, "")
        .await?
        .into_iter()
        .filter(|pod| selector.iter().all(|(key, value)| pod["metadata"]["labels"][key] == *value))
        .collect();
    ensure!(!pods.is_empty(), "it selects none of the webhook's pods");

    // In: each port that the Service or a probe uses, from anywhere, as nobody knows where an API server
    // calls from.
    let service = scene.api().get("Service", NAMESPACE, WEBHOOK).await?;
    for pod in &pods {
        let container = &pod["spec"]["containers"][0];
        let served = &service["spec"]["ports"][0]["targetPort"];
        for used in [
            served,
            &container["readinessProbe"]["httpGet"]["port"],
            &container["livenessProbe"]["httpGet"]["port"],
        ] {
            ensure!(
                allows(&spec["ingress"], "from", used, container),
                "port {used} is used and not let in from anywhere"
            );
        }
    }
    // Out: the API server, by the address of its Service and by its own behind it.
    let kubernetes = scene.api().get("Service", "default", "kubernetes").await?;
    let mut ports = BTreeSet::from([kubernetes["spec"]["ports"][0]["port"].as_u64()]);
    let query = "kubernetes.io/service-name=kubernetes";
    for slice in scene.api().list("EndpointSlice", "default", query).await? {
        for port in slice["ports"].as_array().into_iter().flatten() {
            ports.insert(port["port"].as_u64());
        }
    }
    ensure!(ports.len() > 1, "the Service `kubernetes` leads nowhere");
    for port in ports {
        let port = Value::from(port.context("a port without a number")?);
        ensure!(allows(&spec["egress"], "to", &port, &Value::Null), "port {port} is not let out");
    }
    Ok(())
}

/// Whether one of the rules lets a TCP port through, from or to anywhere. `port` is a number or the name
/// of a port of `container`, and so are the rules' own.
fn allows(rules: &Value, whom: &str, port: &Value, container: &Value) -> bool {
    let number = |port: &Value| {
        let named = container["ports"].as_array().into_iter().flatten();
        let mut named = named.filter(|declared| declared["name"] == *port);
        port.as_u64().or_else(|| named.next()?["containerPort"].as_u64())
    };
    rules.as_array().into_iter().flatten().any(|rule| {
        rule[whom].is_null()
            && rule["ports"].as_array().is_none_or(|ports| {
                ports.iter().any(|allowed| {
                    matches!(allowed["protocol"].as_str(), None | Some("TCP"))
                        && (allowed["port"].is_null() || number(&allowed["port"]) == number(port))
                })
            })
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_are_read_as_an_engine_reads_them() {
        let container = json!({ "ports": [{ "name": "https", "containerPort": 8443 }] });
        let rules = json!([{ "ports": [{ "port": "https", "protocol": "TCP" }] }]);
        assert!(allows(&rules, "from", &json!("https"), &container));
        assert!(allows(&rules, "from", &json!(8443), &container));
        assert!(!allows(&rules, "from", &json!(8080), &container));
        let narrow = json!([{ "from": [{ "podSelector": {} }], "ports": [{ "port": 8443 }] }]);
        assert!(!allows(&narrow, "from", &json!(8443), &container));
        assert!(allows(&json!([{}]), "to", &json!(1), &Value::Null));
        assert!(!allows(&json!([]), "to", &json!(1), &Value::Null));
    }
}
