use std::fs;
use std::path::Path;

use super::*;
use crate::manifest::Value;

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: legacy\n  labels:\n    secret-handshake: \"true\"\nspec:\n  containers:\n  - name: legacy # the one\n    image: legacy\n";
const CONFIG: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}   # as it was\ndata:\n  mode: 0444\n  \"on\": yes\n";

fn args() -> InjectArgs {
    InjectArgs::default()
}

fn with_label(label: &str) -> InjectArgs {
    InjectArgs { namespace_label: Some(label.to_owned()), ..args() }
}

fn inputs(texts: &[&str]) -> Vec<Input> {
    let named = |(index, text): (usize, &&str)| Input {
        name: format!("{index}.yaml"),
        text: (*text).to_owned(),
    };
    texts.iter().enumerate().map(named).collect()
}

fn injected_with(text: &str, args: &InjectArgs) -> Injected {
    inject_all(&inputs(&[text]), args, Policy::default()).unwrap()
}

fn injected(text: &str) -> Injected {
    injected_with(text, &args())
}

fn refused(text: &str) -> String {
    inject_all(&inputs(&[text]), &args(), Policy::default()).unwrap_err().to_string()
}

fn report(injected: &Injected) -> Vec<String> {
    injected.report.iter().map(ToString::to_string).collect()
}

/// The values of the documents.
fn values(text: &str) -> Vec<Value> {
    Parts::of(text).map(|part| part.unwrap().read().unwrap().value).collect()
}

fn at<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(value, |value, member| match value {
        Value::List(items) => items.get(member.parse::<usize>().unwrap()),
        _ => value.get(member),
    })
}

fn strings(value: &Value) -> Vec<&str> {
    let Value::List(items) = value else { panic!("{value:?}") };
    items.iter().map(|item| item.as_str().unwrap()).collect()
}

fn names<'v>(value: &'v Value, path: &str) -> Vec<&'v str> {
    let Some(Value::List(items)) = at(value, path) else { panic!("{path}: {value:?}") };
    items.iter().map(|item| at(item, "name").unwrap().as_str().unwrap()).collect()
}

fn case(file: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    fs::read_to_string(folder.join(file)).unwrap()
}

#[test]
fn what_needs_no_change_comes_back_word_for_word() {
    for text in [
        "",
        "\n",
        "# nothing\n",
        "---\n",
        CONFIG,
        "---\n# one\n---\n---\nkind: X\n...\n",
        "[1, 2]\n",
        "just words\n",
        "kind: X",
        "kind: X\r\n---\r\nkind: Y\r\n",
        "kind: PodList\nitems: none\n",
        "kind: List\nitems: []\n",
        "kind: List\nitems: [1, ~, {kind: X}]\n",
        "{\"kind\": \"X\", \"a\": 1.50}\n{\"kind\": \"Y\"}",
    ] {
        assert_eq!(injected(text).manifests, text);
    }
    let two = format!("# head\n---\n{CONFIG}--- # next\n{POD}");
    let out = injected(&two).manifests;
    assert!(out.starts_with(&format!("# head\n---\n{CONFIG}--- # next\n")), "{out}");
    assert!(out.contains("--half-file="), "{out}");
}

#[test]
fn what_nobody_asked_for_may_look_like_anything() {
    for text in [
        POD.replace("\"true\"", "\"false\"").replace("containers:", "containers: none\n  other:"),
        "apiVersion: v1\nkind: Pod\nmetadata: []\nspec: none\n".to_owned(),
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {labels: [a]}\nspec: {template: 1}\n"
            .to_owned(),
        "apiVersion: batch/v1\nkind: CronJob\nspec: {jobTemplate: [{metadata: 1}]}\n".to_owned(),
    ] {
        let out = injected(&text);
        assert_eq!(out.manifests, text);
        assert_eq!(out.report[0].treatment, Treatment::Unchanged, "{text}");
    }
}

#[test]
fn a_label_that_is_an_annotation_and_a_setting_that_is_a_label_are_pointed_out() {
    let label = |place: &str| {
        format!(
            "secret-handshake is an annotation of the {place} and has no effect: it must be a label"
        )
    };
    let setting = |place: &str| {
        format!(
            "secret-handshake/port is a label of the {place} and has no effect: it must be an annotation"
        )
    };
    let metadata = "{name: a, annotations: {secret-handshake: \"true\"}, labels: {secret-handshake/port: \"80\"}}";
    let pod = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {metadata}\nspec: {{containers: [{{name: a}}]}}\n"
    );
    let deployment = format!(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {metadata}\nspec: {{template: {{metadata: {metadata}, spec: {{containers: [{{name: a}}]}}}}}}\n"
    );
    let namespace = format!("apiVersion: v1\nkind: Namespace\nmetadata: {metadata}\n");
    for (text, places) in [
        (&pod, vec!["pod"]),
        (&deployment, vec!["workload", "pod"]),
        (&namespace, vec!["namespace"]),
    ] {
        let expected: Vec<_> =
            places.iter().flat_map(|place| [label(place), setting(place)]).collect();
        // It is told all the same where the sidecar comes by another way.
        for args in [args(), with_label("true")] {
            assert_eq!(injected_with(text, &args).report[0].warnings, expected);
        }
    }
}

#[test]
fn each_object_gets_its_line() {
    let text = format!("{CONFIG}---\n{POD}---\n{}", POD.replace("\"true\"", "\"off\""));
    assert_eq!(
        report(&injected(&text)),
        [
            "ConfigMap/settings: unchanged: not a workload",
            "Pod/legacy: injected (classic)",
            "Pod/legacy: unchanged: the label secret-handshake says no",
        ]
    );
}

#[test]
fn what_is_no_manifest_is_named_by_its_file_and_document() {
    for text in ["just words\n", "[1, 2]\n", "metadata: {name: a}\n"] {
        let lines = report(&injected(&format!("{CONFIG}---\n{text}")));
        assert_eq!(lines[1], "0.yaml: document 2: unchanged: not a manifest: it has no kind");
    }
}

#[test]
fn a_kind_with_a_pod_template_that_is_not_known_and_asks_has_a_warning() {
    let line = |version: &str, kind: &str, labels: &str, template: &str| {
        let text = format!(
            "apiVersion: {version}\nkind: {kind}\nmetadata: {{name: a, labels: {labels}}}\nspec: {{template: {template}}}\n"
        );
        let out = injected(&text);
        assert_eq!(out.manifests, text);
        let line = &out.report[0];
        assert_eq!(line.treatment, Treatment::Unchanged);
        (line.reason.clone(), line.warnings.clone())
    };
    let yes = "{secret-handshake: \"true\"}";
    let labelled = "{metadata: {labels: {secret-handshake: a}}, spec: {}}";
    let opted_out = "{metadata: {labels: {secret-handshake: \"no\"}}, spec: {}}";
    for (version, kind, labels, template, is_warned) in [
        ("argoproj.io/v1alpha1", "Rollout", yes, "{spec: {}}", true),
        ("argoproj.io/v1alpha1", "Rollout", "{}", labelled, true),
        ("extensions/v1beta1", "Deployment", yes, "{spec: {}}", true),
        ("argoproj.io/v1alpha1", "Rollout", yes, opted_out, false),
        ("argoproj.io/v1alpha1", "Rollout", "{}", "{spec: {}}", false),
        // No pods come of these, whose labels are often those of everything beside them.
        ("bitnami.com/v1alpha1", "SealedSecret", yes, "{metadata: {}}", false),
        ("v1", "Service", yes, "~", false),
    ] {
        let (reason, warnings) = line(version, kind, labels, template);
        let known =
            if is_warned { "not a kind of workload that inject knows" } else { "not a workload" };
        assert_eq!(reason, known, "{kind} {labels} {template}");
        assert_eq!(warnings.len(), usize::from(is_warned), "{kind} {labels} {template}");
        let expected = format!("inject adds no sidecar to a {kind} of {version}; the webhook adds");
        assert!(warnings.iter().all(|warning| warning.starts_with(&expected)), "{warnings:?}");
    }
}

#[test]
fn an_injected_manifest_injected_again_stays_as_it_is() {
    for text in [POD.to_owned(), POD.replace("containers:", "restartPolicy: Never\n  containers:")]
    {
        let once = injected(&text).manifests;
        let twice = injected(&once);
        assert_eq!(twice.manifests, once);
        assert_eq!(report(&twice), ["Pod/legacy: unchanged: it has the sidecar already"]);
    }
}

#[test]
fn a_sidecar_of_ours_is_made_anew() {
    let out = injected_with(&case("injected-then-port.yaml"), &with_label("true"));
    let pod = &values(&out.manifests)[0];
    assert_eq!(names(pod, "spec.containers"), ["legacy", "secret-handshake"]);
    assert_eq!(names(pod, "spec.volumes"), ["secret-handshake", "secret-handshake-no-token"]);
    let arguments = strings(at(pod, "spec.containers.1.args").unwrap());
    assert!(arguments.contains(&"--legacy-port=8080"), "{arguments:?}");

    // From one mode to the other, and what others added stays.
    let once = injected(POD).manifests;
    let changed = once
        .replace("  annotations:\n", "  annotations:\n    secret-handshake/mode: native\n")
        .replace("  volumes:\n", "  volumes:\n  - name: other\n    emptyDir: {}\n");
    let pod = &values(&injected(&changed).manifests)[0];
    assert_eq!(names(pod, "spec.containers"), ["legacy"]);
    assert_eq!(names(pod, "spec.initContainers"), ["secret-handshake"]);
    assert_eq!(
        names(pod, "spec.volumes"),
        ["other", "secret-handshake", "secret-handshake-no-token"]
    );
    // Without the label it is nobody's to change.
    let off = changed.replace("\"true\"", "\"false\"").replace(": true", ": \"false\"");
    assert_eq!(injected(&off).manifests, off);
}

#[test]
fn a_sidecar_that_nobody_asks_for_any_more_is_pointed_out() {
    let left = "the sidecar of an earlier injection is still in it: remove it by hand";
    let native = POD.replace("spec:\n", "spec:\n  restartPolicy: Never\n");
    for pod in [POD, &native] {
        let once = injected(pod).manifests;
        for (text, reason) in [
            (once.replace("\"true\"", "\"no\""), "the label secret-handshake says no"),
            (once.replace("secret-handshake: \"true\"", "a: b"), "no label secret-handshake"),
            (
                once.replace("annotations:\n", "annotations:\n    secret-handshake-done: a\n"),
                "the annotation secret-handshake-done is set",
            ),
        ] {
            let out = injected(&text);
            assert_eq!(out.manifests, text);
            assert_eq!(report(&out), [format!("Pod/legacy: unchanged: {reason}; {left}")]);
        }
    }
    let deployment = case("namespace-in-stream.yaml");
    let once = injected(&deployment).manifests;
    let out = injected(&once.replace("\"true\"", "\"no\""));
    let line = &report(&out)[1];
    assert!(line.contains("says no") && line.contains(left), "{line}");
}

#[test]
fn what_has_our_names_and_is_not_ours_is_a_reason() {
    let out = injected(&case("own-container-name.yaml"));
    assert_eq!(out.report[0].treatment, Treatment::Refused);
    let line = &report(&out)[0];
    assert!(line.contains("has a container secret-handshake of its own"), "{line}");

    // Our own volumes, left without the container, are used.
    let text = case("copy-without-container.yaml");
    let out = injected_with(&text, &with_label("true"));
    assert_eq!(report(&out), ["Pod/copy2: injected (classic)"]);
    let pod = &values(&out.manifests)[0];
    let volumes = ["kube-api-access-7x2t6", "secret-handshake", "secret-handshake-no-token"];
    assert_eq!(names(pod, "spec.volumes"), volumes);
    assert_eq!(at(pod, "spec.volumes"), at(&values(&text)[0], "spec.volumes"));
    let other = text.replace("secretName: secret-handshake", "secretName: other");
    let out = injected_with(&other, &with_label("true"));
    assert_eq!(out.report[0].treatment, Treatment::Noted);
    assert!(report(&out)[0].contains("volume secret-handshake of its own"), "{:?}", report(&out));
}

#[test]
fn windows_is_a_reason_in_whichever_way_it_is_said() {
    for file in ["windows-affinity.yaml", "windows-beta.yaml", "windows-options.yaml"] {
        let out = injected(&case(file));
        assert_eq!(out.report[0].treatment, Treatment::Refused, "{file}");
        let line = &report(&out)[0];
        assert!(line.ends_with("the pod is for Windows, the sidecar for Linux"), "{line}");
    }
}

#[test]
fn lists_are_looked_into() {
    let indented = POD.replace('\n', "\n    ");
    for kind in ["List", "PodList"] {
        let text = format!("apiVersion: v1\nkind: {kind}\nitems:\n  - {indented}\n");
        let text = if kind == "PodList" {
            text.replace("apiVersion: v1\n    kind: Pod\n    ", "")
        } else {
            text
        };
        let out = injected(&text);
        assert_eq!(report(&out), ["Pod/legacy: injected (classic)"], "{text}");
        assert!(out.manifests.contains("--half-file="), "{}", out.manifests);
    }
    let out = injected_with(&case("list-nested.yaml"), &with_label("true"));
    let pod = &values(&out.manifests)[0];
    assert_eq!(names(pod, "items.0.items.0.spec.containers"), ["a", "secret-handshake"]);
}

#[test]
fn json_stays_json_digit_for_digit() {
    let out = injected_with(&case("json-float.json"), &with_label("true"));
    assert!(
        out.manifests.starts_with("{\"apiVersion\":\"v1\",\"kind\":\"List\""),
        "{}",
        out.manifests
    );
    assert!(out.manifests.contains(":0.09257618293116035}"), "{}", out.manifests);
    let stream = case("json-stream2.json");
    assert_eq!(injected(&stream).manifests, stream);

    let json = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"\ud83d\ude00","labels":{"secret-handshake":""}},"spec":{"a":1.50,"containers":[{"name":"legacy"}]}}"#;
    let config = r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}"#;
    let out = injected(&format!("{config}\n{json}\n{config}\n"));
    assert_eq!(out.report.len(), 3);
    let lines: Vec<_> = out.manifests.lines().collect();
    assert_eq!((lines.len(), lines[0], lines[2]), (3, config, config));
    assert!(lines[1].contains("\"a\":1.50,"), "{}", lines[1]);
    // Indented JSON stays indented, and JSON among YAML stays JSON.
    let pretty =
        json.replace("{\"apiVersion\"", "{\n\"apiVersion\"").replace("\\ud83d\\ude00", "p");
    let out = injected(&format!("---\n{pretty}\n---\n{CONFIG}")).manifests;
    assert!(out.starts_with("---\n{\n    \"apiVersion\": \"v1\",\n    \"kind\""), "{out}");
    assert!(out.ends_with(&format!("}}\n---\n{CONFIG}")), "{out}");
    // A YAML flow mapping begins like JSON and isn't.
    assert_eq!(report(&injected("{kind: ConfigMap, metadata: {name: c}}\n")).len(), 1);
}

#[test]
fn several_inputs_make_one_stream() {
    let json = r#"{"kind":"X","a":"\/"}{"kind":"Y"}"#;
    for (texts, expected) in [
        (vec![CONFIG, "kind: X", "\n"], format!("{CONFIG}---\nkind: X\n---\n\n")),
        (vec![json, json], format!("{json}\n{json}")),
        (
            vec![json, "kind: Z\n"],
            "{\"kind\":\"X\",\"a\":\"/\"}\n---\n{\"kind\":\"Y\"}\n---\nkind: Z\n".to_owned(),
        ),
        (
            vec!["kind: Z\n", json],
            "kind: Z\n---\n{\"kind\":\"X\",\"a\":\"/\"}\n---\n{\"kind\":\"Y\"}".to_owned(),
        ),
    ] {
        let out = inject_all(&inputs(&texts), &args(), Policy::default()).unwrap();
        assert_eq!(out.manifests, expected);
        let all = texts.iter().flat_map(|text| values(text)).filter(|value| *value != Value::Null);
        let read = values(&out.manifests).into_iter().filter(|value| *value != Value::Null);
        assert_eq!(read.collect::<Vec<_>>(), all.collect::<Vec<_>>());
    }
}

#[test]
fn numbers_and_words_keep_the_meaning_that_kubectl_gives_them() {
    let text = POD.replace("    image: legacy\n", "    image: legacy\n    env: [{name: A, value: \"0444\"}, {name: B, value: \"yes\"}, {name: C, value: \"1e3\"}, {name: D, value: \"null\"}]\n  volumes:\n  - name: v\n    secret: {defaultMode: 0444, optional: yes}\n");
    let out = injected(&text).manifests;
    for kept in [
        "value: \"0444\"",
        "value: \"yes\"",
        "value: \"1e3\"",
        "value: \"null\"",
        "defaultMode: 292",
        "optional: true",
    ] {
        assert!(out.contains(kept), "{kept}: {out}");
    }

    let label = with_label("true");
    let out = injected_with(&case("short-sha.yaml"), &label).manifests;
    assert!(out.contains("commit: \"7e12345\""), "{out}");
    let out = injected_with(&case("bool-case.yaml"), &label).manifests;
    assert_eq!(
        strings(at(&values(&out)[0], "spec.containers.0.args").unwrap()),
        ["nO", "tRUE", "oN"]
    );
    assert!(!out.contains("- nO"), "readers with longer lists: {out}");
    let out = injected_with(&case("helm-float-uid.yaml"), &label).manifests;
    assert!(out.contains("runAsUser: 1000650000") && out.contains("containerPort: 3000"), "{out}");
    let out = injected(&case("tab-first.json")).manifests;
    assert_eq!(
        strings(at(&values(&out)[0], "spec.containers.0.command").unwrap())[2],
        "\tset -e\n\texec legacy\n"
    );
    let yaml =
        POD.replace("image: legacy", "command: [\"\\tset -e\\n\\texec legacy\\n\", \"a\\nb\\n\"]");
    let out = injected(&yaml).manifests;
    assert_eq!(
        strings(at(&values(&out)[0], "spec.containers.0.command").unwrap()),
        ["\tset -e\n\texec legacy\n", "a\nb\n"]
    );
}

#[test]
fn large_and_deep_manifests_are_read() {
    let label = with_label("true");
    for file in ["comments-e33.yaml", "aliases120.yaml"] {
        let out = injected_with(&case(file), &label);
        assert_eq!(report(&out), ["Pod/legacy: injected (classic)"], "{file}");
    }
    let deep = case("depth63.yaml");
    assert_eq!(injected_with(&deep, &label).manifests, deep);

    // As gen-nodes.py writes it.
    let config = |index| {
        format!(
            "- apiVersion: v1\n  kind: ConfigMap\n  metadata:\n    name: c{index}\n    namespace: default\n    labels: {{app: a, tier: b}}\n  data:\n    a: \"1\"\n    b: \"2\"\n"
        )
    };
    let configs: Vec<_> = (0..15_000).map(config).collect();
    let list = format!(
        "apiVersion: v1\nkind: List\nitems:\n{}- apiVersion: v1\n  kind: Pod\n  metadata: {{name: p}}\n  spec: {{containers: [{{name: a, image: b}}]}}\n",
        configs.concat()
    );
    let out = injected_with(&list, &label);
    assert_eq!(report(&out).last().unwrap(), "Pod/p: injected (classic)");
}

#[test]
fn a_key_that_comes_twice_has_a_line() {
    let out = injected_with(&case("dup-label.yaml"), &with_label("true"));
    assert_eq!(
        out.duplicates,
        ["0.yaml: line 8: metadata.labels.app comes twice; the last one counts"]
    );
    assert_eq!(report(&out)[1], "Pod/legacy: injected (classic)");
}

#[test]
fn what_the_namespace_wishes_is_a_flag() {
    let plain = POD.replace("secret-handshake:", "other:");
    let with = |label: Option<&str>| {
        let args = label.map_or_else(args, with_label);
        report(&injected_with(&plain, &args)).remove(0)
    };
    assert_eq!(with(None), "Pod/legacy: unchanged: no label secret-handshake");
    assert_eq!(with(Some("disabled")), "Pod/legacy: unchanged: the label secret-handshake says no");
    assert_eq!(with(Some("False")), "Pod/legacy: unchanged: the label secret-handshake says no");
    assert_eq!(with(Some("")), "Pod/legacy: injected (classic)");
}

#[test]
fn a_namespace_among_the_manifests_counts_wherever_it_stands() {
    let text = case("namespace-in-stream.yaml");
    let (namespace, deployment) = text.split_once("---\n").unwrap();
    let elsewhere = deployment.replace("namespace: shop", "namespace: other");
    let unnamed = deployment.replace(", namespace: shop", "");
    let in_list =
        format!("kind: List\napiVersion: v1\nitems:\n- {}", namespace.replace('\n', "\n  "));
    for (texts, expected) in [
        (vec![namespace, deployment], "injected (classic)"),
        (vec![deployment, namespace], "injected (classic)"),
        (vec![deployment, &in_list], "injected (classic)"),
        (vec![namespace, &elsewhere], "unchanged: no label secret-handshake"),
        (vec![namespace, &unnamed], "unchanged: no label secret-handshake"),
    ] {
        let out = inject_all(&inputs(&texts), &args(), Policy::default()).unwrap();
        let line = format!("Deployment/legacy: {expected}");
        assert!(report(&out).contains(&line), "{line}: {:?}", report(&out));
    }
    let default = InjectArgs { namespace: Some("shop".to_owned()), ..args() };
    let out = inject_all(&inputs(&[&unnamed, namespace]), &default, Policy::default()).unwrap();
    assert_eq!(report(&out)[0], "Deployment/legacy: injected (classic)");
    // Its label counts more than the flag; without one the flag does.
    let no = namespace.replace("\"true\"", "\"false\"");
    let without = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n";
    for (namespace, flag, expected) in [
        (no.as_str(), "true", "unchanged: the label secret-handshake says no"),
        (namespace, "false", "injected (classic)"),
        (without, "true", "injected (classic)"),
        (without, "false", "unchanged: the label secret-handshake says no"),
    ] {
        let flag = with_label(flag);
        let out = inject_all(&inputs(&[namespace, deployment]), &flag, Policy::default()).unwrap();
        let line = format!("Deployment/legacy: {expected}");
        assert_eq!(report(&out)[1], line, "{namespace}");
    }
}

#[test]
fn the_webhooks_own_namespace_is_left_out_as_the_webhook_leaves_it() {
    for namespace in ["secret-handshake", "kube-system"] {
        let args = InjectArgs { namespace: Some(namespace.to_owned()), ..args() };
        let lines = report(&injected_with(POD, &args));
        assert_eq!(lines, ["Pod/legacy: unchanged: the namespace is excluded"], "{namespace}");
    }
}

#[test]
fn what_a_namespace_among_the_manifests_sets_counts() {
    let text = case("namespace-in-stream.yaml");
    let set = |annotations: &str| {
        text.replace("{name: shop,", &format!("{{name: shop, annotations: {annotations},"))
    };
    let arguments = |text: &str, policy: Policy| {
        let out = inject_all(&inputs(&[text]), &args(), policy).unwrap();
        let path = "spec.template.spec.containers.1.args";
        strings(at(&values(&out.manifests)[1], path).unwrap()).join(" ")
    };
    let flags = || Policy { port: 81, log_level: "warn".to_owned(), ..Policy::default() };
    let found = arguments(&set("{secret-handshake/port: \"82\"}"), flags());
    assert!(found.contains("--legacy-port=82 ") && found.contains("--log-level=warn"), "{found}");
    assert!(arguments(&text, flags()).contains("--legacy-port=81 "));
    let pods = "metadata: {annotations: {secret-handshake/port: \"83\"}, labels: {app: l}}";
    let pods = set("{secret-handshake/port: \"82\"}").replace("metadata: {labels: {app: l}}", pods);
    assert!(arguments(&pods, flags()).contains("--legacy-port=83 "));
    let file = arguments(&set("{secret-handshake/half-file: /vault/secrets/half}"), flags());
    assert!(file.contains("--half-file=/vault/secrets/half "), "{file}");

    // Errors say where the value stands.
    let job = |mode: &str| {
        let job = text
            .replace("apps/v1", "batch/v1")
            .replace("kind: Deployment", "kind: Job")
            .replace("spec: {containers", "spec: {restartPolicy: Never, containers");
        let job = job.replace("{name: shop,", &format!("{{name: shop, annotations: {mode},"));
        let policy = Policy { mode: Some(injection::Mode::Classic), ..Policy::default() };
        report(&inject_all(&inputs(&[&job]), &args(), policy).unwrap()).remove(1)
    };
    for (mode, expected) in [
        ("{secret-handshake/mode: classic}", "the namespace's annotation secret-handshake/mode is"),
        ("{}", "the flag --sidecar-mode is \"classic\", and the restartPolicy"),
    ] {
        assert!(job(mode).contains(expected), "{}", job(mode));
    }
    for (annotations, expected) in [
        (
            "{secret-handshake/port: http}",
            "the namespace's annotation secret-handshake/port is \"http\"",
        ),
        (
            "{secret-handshake/port: 82}",
            "Namespace/shop: metadata.annotations.secret-handshake/port: invalid type: integer `82`, expected a string: write it in quotes",
        ),
    ] {
        let line = &report(&injected(&set(annotations)))[1];
        assert!(line.contains(expected), "{line}");
    }
}

#[test]
fn a_half_from_elsewhere_has_no_secret_of_ours() {
    let with = |annotations: &str| {
        let text = POD.replace("  labels:", &format!("  annotations: {annotations}\n  labels:"));
        let out = injected(&text);
        (values(&out.manifests).remove(0), report(&out).remove(0))
    };
    let (pod, _) = with("{secret-handshake/half-file: /vault/secrets/half}");
    assert_eq!(names(&pod, "spec.volumes"), ["secret-handshake-no-token"]);
    let (pod, _) = with("{secret-handshake/secret-provider-class: vault}");
    let class = at(&pod, "spec.volumes.0.csi.volumeAttributes.secretProviderClass");
    assert_eq!(class.and_then(Value::as_str), Some("vault"));
    let (_, line) =
        with("{secret-handshake/half-file: /half, secret-handshake/secret-provider-class: vault}");
    assert!(line.contains("both say where the half comes from"), "{line}");
}

#[test]
fn a_workloads_label_counts_as_its_pods_own() {
    let deployment = |label: &str, template: &str| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: legacy\n  labels: {label}\n  annotations:\n    secret-handshake/port: \"80\"\nspec:\n  template:\n    metadata:\n      labels: {template}\n    spec:\n      hostNetwork: true\n      containers: [{{name: legacy}}]\n"
        )
    };
    let refused = injected(&deployment("{secret-handshake: a}", "{}"));
    assert_eq!(refused.report[0].treatment, Treatment::Refused);
    let line = refused.report[0].to_string();
    assert!(line.contains("hostNetwork") && line.contains("belongs on the pod template"), "{line}");
    let nearest = injected(&deployment("{secret-handshake: a}", "{secret-handshake: \"false\"}"));
    assert_eq!(nearest.report[0].treatment, Treatment::Unchanged);

    // One that only inherits is let through, and its template says why.
    let inherited = injected_with(&deployment("{}", "{}"), &with_label("true"));
    assert_eq!(inherited.report[0].treatment, Treatment::Noted);
    assert!(inherited.manifests.contains("secret-handshake/status"), "{}", inherited.manifests);
}

#[test]
fn a_cronjobs_job_template_counts_as_its_job() {
    let yes = case("cronjob-jobtemplate-label.yaml");
    let no = case("cronjob-jobtemplate-false.yaml");
    assert_eq!(report(&injected(&yes)), ["CronJob/c: injected (native)"]);
    let out = injected_with(&no, &with_label("true"));
    assert_eq!(report(&out), ["CronJob/cf: unchanged: the label secret-handshake says no"]);
    // The Job is nearer than the CronJob, and the pod nearer than the Job.
    let labelled = no.replace("{name: cf}", "{name: cf, labels: {secret-handshake: \"true\"}}");
    assert_eq!(injected(&labelled).manifests, labelled);
    let pod =
        no.replace("template: {spec", "template: {metadata: {labels: {secret-handshake: a}}, spec");
    assert_eq!(report(&injected(&pod)), ["CronJob/cf: injected (native)"]);
}

#[test]
fn a_stateful_sets_claim_of_our_volumes_name_is_a_reason() {
    let text = case("sts-vct-name.yaml");
    let out = injected(&text);
    assert_eq!(out.report[0].treatment, Treatment::Refused);
    assert!(
        report(&out)[0].contains("has a volume secret-handshake of its own"),
        "{:?}",
        report(&out)
    );
    let other = injected(&text.replace("name: secret-handshake", "name: data"));
    assert_eq!(report(&other), ["StatefulSet/s: injected (classic)"]);
}

#[test]
fn an_error_names_file_document_object_and_field() {
    for (text, expected) in [
        (
            POD.replace("\"true\"", "true"),
            "metadata.labels.secret-handshake: a label's value is a string: write it in quotes",
        ),
        (
            POD.replace("  labels:\n", "  labels:\n    app.kubernetes.io/version: 1.5\n"),
            "metadata.labels.app.kubernetes.io/version: invalid type: floating point `1.5`, expected a string: write it in quotes",
        ),
        (
            POD.replace("  labels:\n", "  annotations: {secret-handshake/port: 80}\n  labels:\n"),
            "metadata.annotations.secret-handshake/port: invalid type: integer `80`, expected a string: write it in quotes",
        ),
        (
            POD.replace("containers:\n", "containers: none\n  other:\n"),
            "spec.containers: invalid type: string",
        ),
        (
            POD.replace("image: legacy", "ports: [{containerPort: http}]"),
            "spec.containers[0].ports[0].containerPort: ",
        ),
    ] {
        let line = injected(&format!("{CONFIG}---\n{text}")).report.remove(1);
        assert_eq!(line.treatment, Treatment::Refused, "{text}");
        let expected = format!("0.yaml: document 2: Pod/legacy: refused: {expected}");
        assert!(line.to_string().starts_with(&expected), "{line}");
    }
    for (text, expected) in [
        ("a: 1\n---\na: [", "0.yaml: document 2: line 4: did not find expected node content"),
        ("{\"a\": ", "0.yaml: document 1: line 2: "),
        ("\"open", "0.yaml: document 1: line 2: found unexpected end of stream"),
        ("a: *nowhere", "0.yaml: document 1: line 1: an alias of no anchor before it"),
        (&case("sep-content.yaml"), "0.yaml: document 1: line 1: only a comment may follow ---"),
    ] {
        assert!(refused(text).starts_with(expected), "{text:?}: {}", refused(text));
    }
}

#[test]
fn an_error_shows_no_value_of_a_secret() {
    for data in [
        "stringData: {half: my?secret-acknowledge}",
        "data: {half: !!int \"secret-acknowledge\"}",
        "data: {half: !!binary \"secret-acknowledge\"}",
        "stringData:\n  half: |\n    a\n--- secret-acknowledge",
        "stringData: {half: \"secret-acknowledge\\q\"}",
        "stringData:\n  half: *secret-acknowledge",
        "stringData: &secret-acknowledge {half: *secret-acknowledge}",
    ] {
        let error = refused(&format!("apiVersion: v1\nkind: Secret\n{data}\n"));
        assert!(error.contains("0.yaml: document 1: line"), "{error}");
        assert!(!error.contains("acknowledge"), "{error}");
    }
}
