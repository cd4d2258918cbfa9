//! What comes back when the API server is asked for a pod, and if it is an error, why.

use std::time::Duration;

use super::finding::{Check, Finding, line};
use crate::cluster::Unreadable;
use crate::webhook::ServiceName;

/// Slower than this, people notice that pods are slow to create.
const SLOW: Duration = Duration::from_secs(1);

/// A dry run of something that asks for a sidecar.
pub(crate) struct Attempt {
    /// What was to be created: `a pod in legacy`.
    pub(crate) what: String,
    pub(crate) took: Duration,
    pub(crate) answer: Result<Answer, Unreadable>,
}

/// What the API server made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The sidecar is in the pod, or the label is on the template: the webhook has answered.
    Changed,
    /// The webhook has answered that it gives no sidecar, for this reason.
    Declined(String),
    /// It came back as it was sent.
    Unchanged,
}

pub(crate) fn dry_run(attempt: &Result<Attempt, Unreadable>) -> Finding {
    let check = Check::DryRun;
    let attempt = match attempt {
        Ok(attempt) => attempt,
        Err(error) => return Finding::unreadable(check, error),
    };
    let Attempt { what, took, answer } = attempt;
    match answer {
        Ok(Answer::Changed) if *took > SLOW => {
            Finding::warning(check, format!("{what} comes back with the sidecar, but only after {} ms", took.as_millis()))
                .means("The API server waits 5 s at the most, and then refuses the pod.")
                .remedy("kubectl -n secret-handshake top pods")
        }
        Ok(Answer::Changed) => Finding::ok(
            check,
            format!("{what} (a dry run) comes back with the sidecar, after {} ms", took.as_millis()),
        ),
        Ok(Answer::Declined(reason)) => {
            let reason = line(reason, 300);
            Finding::skipped(check, format!("{what} (a dry run) got no sidecar, for a reason: {reason}"))
        }
        Ok(Answer::Unchanged) => Finding::failed(check, format!("{what} (a dry run) comes back without the sidecar"))
            .means("The API server did not ask the webhook, or the webhook had a reason.")
            .remedy("kubectl secret-handshake explain namespace/NAME")
            .remedy("kubectl -n secret-handshake logs -l app.kubernetes.io/name=secret-handshake-webhook --tail=20"),
        Err(Unreadable::Forbidden(rule)) => {
            Finding::skipped(check, format!("no permission to {rule}, also for a dry run"))
        }
        Err(Unreadable::Failed(_)) => {
            Finding::skipped(check, format!("{what} (a dry run) was refused: see the next line"))
        }
    }
}

pub(crate) fn call(
    attempt: &Result<Attempt, Unreadable>,
    service: Option<&ServiceName>,
) -> Finding {
    let check = Check::Call;
    let attempt = match attempt {
        Ok(attempt) => attempt,
        Err(Unreadable::Forbidden(rule)) => {
            return Finding::skipped(check, format!("no permission to {rule}"));
        }
        Err(Unreadable::Failed(_)) => return Finding::skipped(check, "nothing was tried"),
    };
    match &attempt.answer {
        Ok(Answer::Changed | Answer::Declined(_)) => {
            Finding::ok(check, "the API server reaches the webhook")
        }
        Ok(Answer::Unchanged) => Finding::skipped(check, "the API server reports no failed call"),
        Err(error @ Unreadable::Forbidden(_)) => Finding::unreadable(check, error),
        Err(Unreadable::Failed(text)) => {
            let cause = Cause::of(text);
            let shipped = ServiceName::shipped();
            let service = service.unwrap_or(&shipped);
            let text = line(text, 600);
            Finding::failed(check, cause.title())
                .objects([text])
                .means(cause.means())
                .remedies(cause.remedies(service))
        }
    }
}

/// Why a dry run was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    NotAllowed,
    TimedOut,
    Proxy,
    Untrusted,
    NobodyListens,
    NoEndpoints,
    NoService,
    BadAnswer,
    OtherWebhook,
    Denied,
    Quota,
    Other,
}

impl Cause {
    /// What an API server's text tells. Its words come from Go's net, crypto/x509 and net/http, from the
    /// API server's proxy to Services, and on EKS from its tunnel to the nodes.
    pub(crate) fn of(text: &str) -> Self {
        let has = |part: &str| text.contains(part);
        let called = has("failed calling webhook") || has("failed to call webhook");
        if called && !has(".secret-handshake.dev\"") {
            return Self::OtherWebhook;
        }
        if called {
            return if has("Address is not allowed") {
                Self::NotAllowed
            } else if has("proxyconnect")
                || has("Proxy Authentication Required")
                || has("Bad Gateway")
            {
                Self::Proxy
            } else if has("x509:") || has("tls: ") || has("remote error: tls") {
                Self::Untrusted
            } else if has("context deadline exceeded")
                || has("Client.Timeout")
                || has("i/o timeout")
                || has("TLS handshake timeout")
                || has("connection timed out")
                || has("no route to host")
                || has("network is unreachable")
            {
                Self::TimedOut
            } else if has("no endpoints available") {
                Self::NoEndpoints
            } else if has("service \"") && has("not found") {
                Self::NoService
            } else if has("connection refused")
                || has("connection reset")
                || has("EOF")
                || has("Connection refused")
            {
                Self::NobodyListens
            } else if has("Service Unavailable") {
                Self::Proxy
            } else {
                Self::BadAnswer
            };
        }
        if has(".secret-handshake.dev\" denied the request") {
            Self::Denied
        } else if has("denied the request") {
            Self::OtherWebhook
        } else if has("exceeded quota")
            || has("failed quota")
            || has("per Container is")
            || has("per Pod is")
        {
            Self::Quota
        } else {
            Self::Other
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::NotAllowed => {
                "the API server may not call the pods' network: Address is not allowed"
            }
            Self::TimedOut => "the API server's call to the webhook timed out",
            Self::Proxy => "the API server calls the webhook through a proxy",
            Self::Untrusted => "the API server does not trust the webhook's certificate",
            Self::NobodyListens => "nobody answers where the API server calls the webhook",
            Self::NoEndpoints => "the webhook's Service has no endpoints",
            Self::NoService => "the webhook's Service does not exist",
            Self::BadAnswer => "the webhook's answer was of no use to the API server",
            Self::OtherWebhook => "another webhook stands in the way",
            Self::Denied => "the webhook refused the pod",
            Self::Quota => "a quota or a LimitRange of the namespace refused the pod",
            Self::Other => "the API server refused the pod",
        }
    }

    const fn means(self) -> &'static str {
        match self {
            Self::NotAllowed => {
                "On EKS with a network of another provider (Calico, Cilium, Weave) the control plane has no way to the pods' addresses, only to the nodes'."
            }
            Self::TimedOut => {
                "Nothing came back. Usually a firewall between the control plane and the nodes (private GKE clusters), a security group, or a NetworkPolicy."
            }
            Self::Proxy => {
                "The API server has HTTPS_PROXY in its environment, and NO_PROXY does not name Services."
            }
            Self::Untrusted => {
                "The caBundle and what a replica serves do not go together: the checks of both above tell which."
            }
            Self::NobodyListens => {
                "No replica runs there, or it has just ended: the check of the replicas above tells."
            }
            Self::NoEndpoints => "No replica is ready: the check of the replicas above tells.",
            Self::NoService => "The configuration names a Service that is not there.",
            Self::BadAnswer => {
                "Something else than the webhook may answer there, or another version of it."
            }
            Self::OtherWebhook => {
                "It is called before or after ours for the same pods, and is not part of secret-handshake."
            }
            Self::Denied => "It was reached, and it has a reason, which stands in the line above.",
            Self::Quota => {
                "The webhook was not at fault; the pod of the dry run, with its sidecar, is over a limit."
            }
            Self::Other => "The webhook is not named in the reason.",
        }
    }

    fn remedies(self, service: &ServiceName) -> Vec<String> {
        let ServiceName { namespace, name } = service;
        let list = |lines: &[&str]| lines.iter().map(ToString::to_string).collect();
        match self {
            Self::NotAllowed => {
                let patch = r#"{"spec":{"template":{"spec":{"hostNetwork":true,"dnsPolicy":"ClusterFirstWithHostNet"}}}}"#;
                vec![
                    format!("kubectl -n {namespace} patch deployment {name} -p '{patch}'"),
                    format!(
                        "the namespace must let it: kubectl label namespace {namespace} --overwrite pod-security.kubernetes.io/enforce=privileged"
                    ),
                ]
            }
            Self::TimedOut => list(&[
                "open TCP 8443 from the control plane to the nodes",
                "GKE: gcloud compute firewall-rules create secret-handshake --allow=tcp:8443 --source-ranges=CONTROL_PLANE_RANGE --target-tags=NODE_TAG --network=NETWORK",
            ]),
            Self::Proxy => list(&[
                "add .svc and .cluster.local to NO_PROXY of the API server (kubeadm: in /etc/kubernetes/manifests/kube-apiserver.yaml)",
            ]),
            Self::Untrusted => vec![
                format!(
                    "kubectl -n {namespace} logs -l app.kubernetes.io/name={name} --prefix --tail=20"
                ),
                format!("kubectl -n {namespace} rollout restart deployment/{name}"),
            ],
            Self::NobodyListens | Self::NoEndpoints => vec![
                format!("kubectl -n {namespace} get pods,endpointslices"),
                format!(
                    "if it can't be helped soon, let pods start without a sidecar: kubectl delete mutatingwebhookconfiguration {}",
                    crate::webhook::CONFIGURATION
                ),
            ],
            Self::NoService => list(&[super::configuration::APPLY]),
            Self::BadAnswer => {
                vec![format!(
                    "kubectl -n {namespace} logs -l app.kubernetes.io/name={name} --prefix --tail=20"
                )]
            }
            Self::OtherWebhook => {
                list(&["kubectl get mutatingwebhookconfigurations,validatingwebhookconfigurations"])
            }
            Self::Denied => list(&["kubectl secret-handshake explain namespace/NAME"]),
            Self::Quota => list(&["kubectl -n NAME describe quota,limits"]),
            Self::Other => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    /// What API servers say, from public reports and from the scenarios of `e2e`; names are put in.
    const CALL: &str = "Internal error occurred: failed calling webhook \"pod.secret-handshake.dev\": failed to call webhook: Post \"https://secret-handshake-webhook.secret-handshake.svc:443/mutate/pods?timeout=5s\": ";

    #[test]
    fn what_an_api_server_says_has_a_cause() {
        for (end, expected) in [
            ("Address is not allowed", Cause::NotAllowed),
            ("context deadline exceeded", Cause::TimedOut),
            (
                "net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)",
                Cause::TimedOut,
            ),
            (
                "context deadline exceeded (Client.Timeout exceeded while awaiting headers)",
                Cause::TimedOut,
            ),
            ("dial tcp 10.0.97.100:443: i/o timeout", Cause::TimedOut),
            ("net/http: TLS handshake timeout", Cause::TimedOut),
            ("dial tcp 10.0.97.100:8443: connect: no route to host", Cause::TimedOut),
            ("dial tcp [fd99::86ac]:443: connect: network is unreachable", Cause::TimedOut),
            ("proxyconnect tcp: dial tcp 10.1.2.3:3128: connect: connection refused", Cause::Proxy),
            ("Service Unavailable", Cause::Proxy),
            ("Bad Gateway", Cause::Proxy),
            (
                "tls: failed to verify certificate: x509: certificate signed by unknown authority",
                Cause::Untrusted,
            ),
            (
                "x509: certificate signed by unknown authority (possibly because of \"crypto/rsa: verification error\" while trying to verify candidate authority certificate \"*.svc\")",
                Cause::Untrusted,
            ),
            (
                "x509: certificate is not valid for any names, but wanted to match secret-handshake-webhook.secret-handshake.svc",
                Cause::Untrusted,
            ),
            (
                "tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 2026-01-02T00:00:00Z is after 2026-01-01T00:00:00Z",
                Cause::Untrusted,
            ),
            ("remote error: tls: certificate required", Cause::Untrusted),
            ("dial tcp 10.152.183.134:443: connect: connection refused", Cause::NobodyListens),
            ("ssh: rejected: connect failed (Connection refused)", Cause::NobodyListens),
            ("EOF", Cause::NobodyListens),
            (
                "read tcp 10.0.0.1:1->10.0.0.2:8443: read: connection reset by peer",
                Cause::NobodyListens,
            ),
            ("no endpoints available for service \"secret-handshake-webhook\"", Cause::NoEndpoints),
            ("service \"secret-handshake-webhook\" not found", Cause::NoService),
            ("the server could not find the requested resource", Cause::BadAnswer),
            ("the server rejected our request for an unknown reason", Cause::BadAnswer),
        ] {
            assert_eq!(Cause::of(&format!("{CALL}{end}")), expected, "{end}");
        }
        for (text, expected) in [
            (
                "admission webhook \"pod.secret-handshake.dev\" denied the request: its label secret-handshake asks for a sidecar, but hostNetwork is true",
                Cause::Denied,
            ),
            (
                "admission webhook \"validate.kyverno.svc-fail\" denied the request: resource Pod was blocked",
                Cause::OtherWebhook,
            ),
            (
                "Internal error occurred: failed calling webhook \"validate.kyverno.svc-fail\": failed to call webhook: Post \"https://kyverno-svc.kyverno.svc:443/validate?timeout=10s\": context deadline exceeded",
                Cause::OtherWebhook,
            ),
            (
                "pods \"x\" is forbidden: exceeded quota: q, requested: limits.cpu=50m, used: limits.cpu=1, limited: limits.cpu=1",
                Cause::Quota,
            ),
            (
                "pods \"x\" is forbidden: failed quota: q: must specify limits.memory for: secret-handshake",
                Cause::Quota,
            ),
            (
                "pods \"x\" is forbidden: minimum cpu usage per Container is 100m, but request is 50m",
                Cause::Quota,
            ),
            (
                "pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\": runAsNonRoot != true",
                Cause::Other,
            ),
        ] {
            assert_eq!(Cause::of(text), expected, "{text}");
        }
    }

    fn attempt(took: u64, answer: Result<Answer, Unreadable>) -> Attempt {
        let what = "a pod in legacy".to_owned();
        Attempt { what, took: Duration::from_millis(took), answer }
    }

    #[test]
    fn either_the_pod_or_the_call_is_the_finding() {
        let failed = |text: &str| Err(Unreadable::Failed(text.to_owned()));
        let forbidden = || Unreadable::Forbidden("create pods in namespace legacy".to_owned());
        for (attempt, pod, called) in [
            (Ok(attempt(3, Ok(Answer::Changed))), State::Ok, State::Ok),
            (Ok(attempt(3000, Ok(Answer::Changed))), State::Warning, State::Ok),
            (Ok(attempt(3, Ok(Answer::Declined("x".to_owned())))), State::Skipped, State::Ok),
            (Ok(attempt(3, Ok(Answer::Unchanged))), State::Failed, State::Skipped),
            (Ok(attempt(3, failed(CALL))), State::Skipped, State::Failed),
            (Ok(attempt(3, Err(forbidden()))), State::Skipped, State::Skipped),
            (Err(forbidden()), State::Skipped, State::Skipped),
        ] {
            assert_eq!(dry_run(&attempt).state, pod);
            let finding = call(&attempt, None);
            assert_eq!(finding.state, called);
            if called == State::Failed {
                assert!(
                    !finding.remedy.is_empty() && finding.objects.named[0].contains("pod.secret")
                );
            }
        }
    }
}
