//! Labels that do nothing, and labels that do what nobody meant.

use injection::{Policy, printable, says_yes};

use super::finding::{Check, Finding, Named};
use super::namespace::Namespaces;
use crate::cluster::Unreadable;

/// Values that look like a no, and are a yes: only `false`, `disabled`, `off`, `no` and `0` say no.
const LOOKS_LIKE_NO: [&str; 22] = [
    "-",
    "deny",
    "denied",
    "disable",
    "exclude",
    "excluded",
    "f",
    "ignore",
    "ignored",
    "n",
    "never",
    "nil",
    "none",
    "not",
    "null",
    "opt-out",
    "remove",
    "removed",
    "skip",
    "stop",
    "undefined",
    "unset",
];

/// Whether somebody who wrote this label meant no, and asks for a sidecar all the same.
pub(crate) fn is_doubtful(value: &str) -> bool {
    says_yes(value) && LOOKS_LIKE_NO.iter().any(|no| value.eq_ignore_ascii_case(no))
}

/// `workloads` are those whose label, or their template's, is doubtful.
pub(crate) fn labels(
    namespaces: &Result<Namespaces, Unreadable>,
    workloads: &Named,
    policy: &Policy,
) -> Finding {
    let check = Check::Labels;
    let namespaces = match namespaces {
        Ok(namespaces) => namespaces,
        Err(error) => return Finding::unreadable(check, error),
    };
    let mut found = Named::default();
    let mut remedies = Vec::new();
    for (name, namespace) in &namespaces.all {
        let Some(label) = namespace.label.as_deref() else { continue };
        let shown = printable(label, 63);
        if says_yes(label) && policy.excludes(name) {
            found.push(|| {
                format!(
                    "namespace/{name}: the namespace is always left out, the label has no effect"
                )
            });
            remedies.push(format!("kubectl label namespace {name} secret-handshake-"));
        } else if is_doubtful(label) {
            found.push(|| format!("namespace/{name}: {shown:?} says yes"));
            remedies
                .push(format!("kubectl label namespace {name} --overwrite secret-handshake=false"));
        }
    }
    for line in &workloads.named {
        found.push(|| line.clone());
    }
    found.more += workloads.more;
    if found.is_empty() {
        let asking = namespaces.asking(policy).count();
        return Finding::ok(
            check,
            format!("every label is clear; namespaces that ask for sidecars: {asking}"),
        );
    }
    remedies.truncate(5);
    Finding::warning(check, "there are labels that do not do what they seem to")
        .named(found)
        .means("`false`, `disabled`, `off`, `no` and `0` say no, in whatever case; every other value says yes.")
        .remedies(remedies)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
    use serde_json::json;

    use super::super::finding::State;
    use super::*;

    #[test]
    fn a_value_is_doubtful_if_it_looks_like_a_no() {
        for (value, doubtful) in [
            ("true", false),
            ("True", false),
            ("", false),
            ("yes", false),
            ("enabled", false),
            ("1", false),
            ("false", false),
            ("OFF", false),
            ("disabled", false),
            ("none", true),
            ("None", true),
            ("null", true),
            ("disable", true),
            ("n", true),
            ("never", true),
        ] {
            assert_eq!(is_doubtful(value), doubtful, "{value}");
        }
    }

    #[test]
    fn labels_on_namespaces_are_named_where_they_do_nothing_or_the_wrong_thing() {
        let policy = Policy { own_namespace: Some("own".to_owned()), ..Policy::default() };
        for (name, label, state) in [
            ("legacy", Some("true"), State::Ok),
            ("legacy", Some("false"), State::Ok),
            ("legacy", None, State::Ok),
            ("legacy", Some("none"), State::Warning),
            ("kube-system", Some("true"), State::Warning),
            ("own", Some("true"), State::Warning),
            ("kube-system", Some("false"), State::Ok),
        ] {
            let mut namespaces = Namespaces::default();
            let labels = label.map(|label| json!({"secret-handshake": label}));
            let metadata = json!({"name": name, "labels": labels});
            let metadata: ObjectMeta = serde_json::from_value(metadata).unwrap();
            namespaces.add(&metadata);
            let finding = super::labels(&Ok(namespaces), &Named::default(), &policy);
            assert_eq!(finding.state, state, "{name} {label:?}: {finding:?}");
            let is_named = finding.objects.named.iter().any(|it| it.contains(name));
            assert_eq!(is_named, state == State::Warning);
        }
        let workloads: Named = ["legacy/deployment/x".to_owned()].into_iter().collect();
        let finding = super::labels(&Ok(Namespaces::default()), &workloads, &policy);
        assert_eq!(finding.state, State::Warning);
    }
}
