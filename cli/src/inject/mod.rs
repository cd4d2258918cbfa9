//! The same injection offline: manifests in, manifests with the sidecar out.
//!
//! ```text
//! text ─▶ document ─▶ object ─▶ decision ─▶ patch ─▶ object ─▶ document ─▶ text
//!                       └─ a line about each object
//! ```

mod document;
mod object;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use anyhow::{Context, ensure};

use self::document::Document;
use self::object::Offline;
pub use self::object::{Line, Treatment};
use webhook::decision::Policy;
use webhook::decision::pod::says_yes;

/// More than any manifest has; what is bigger is no manifest.
const LIMIT: u64 = 64 << 20;

/// `inject`: reads manifests and writes them with the sidecar in them.
#[derive(Clone, Debug, clap::Args)]
pub struct InjectArgs {
    /// The file with the manifests, YAML or JSON; `-` is the standard input
    #[arg(short, long, value_name = "FILE")]
    pub file: PathBuf,

    /// The value of the label `secret-handshake` of the namespace that the manifests are for. Left
    /// out, the namespace has no such label
    #[arg(long, value_name = "VALUE")]
    pub namespace_label: Option<String>,

    /// The namespace of objects that name none
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
}

/// Manifests that went through the injection.
#[derive(Clone, Debug)]
pub struct Injected {
    /// All documents, those that needed no change word for word.
    pub manifests: String,
    /// A line about each object, in their order.
    pub report: Vec<Line>,
}

/// Injects what `args` names; the manifests go to the standard output, a line about each object
/// to the standard error.
///
/// # Errors
///
/// If the input can't be read, or an object asks for what it cannot have: then nothing is written
/// to the standard output, so that nothing half-done is applied.
pub fn run(args: InjectArgs, policy: Policy) -> anyhow::Result<()> {
    let source = args.file.display().to_string();
    let text = if args.file.as_os_str() == "-" {
        read(io::stdin().lock())
    } else {
        File::open(&args.file).map_err(Into::into).and_then(read)
    };
    let text = text.with_context(|| format!("can't read the manifests in {source}"))?;

    let Injected { manifests, report } = inject(&text, args, policy)
        .with_context(|| format!("the manifests in {source} can't be understood"))?;
    let mut errors = io::stderr().lock();
    for line in &report {
        writeln!(errors, "{line}")?;
    }
    let refused = report.iter().filter(|line| line.treatment == Treatment::Refused).count();
    ensure!(
        refused == 0,
        "{refused} of {} objects can't have the sidecar they ask for: nothing is written",
        report.len()
    );
    io::stdout().lock().write_all(manifests.as_bytes()).context("can't write the manifests")
}

/// Injects the manifests in `text`, with what `args` say about the cluster; `args.file` is the
/// caller's to heed.
///
/// # Errors
///
/// If a document is neither YAML nor JSON.
pub fn inject(text: &str, args: InjectArgs, policy: Policy) -> anyhow::Result<Injected> {
    let mut offline = Offline {
        policy,
        namespace: args.namespace,
        inherited: args.namespace_label.as_deref().map(says_yes),
        report: Vec::new(),
    };
    let mut manifests = String::with_capacity(text.len() * 2);
    for (index, part) in document::split(text).enumerate() {
        if index > 0 {
            document::separate(&mut manifests);
        }
        let documents =
            Document::read(part).with_context(|| format!("document {} of the input", index + 1))?;
        for (index, mut document) in documents.into_iter().enumerate() {
            if index > 0 {
                document::separate(&mut manifests);
            }
            if offline.treat(&mut document.value) {
                manifests.push_str(&document::write(&document.value)?);
            } else {
                manifests.push_str(document.text);
            }
        }
    }
    Ok(Injected { manifests, report: offline.report })
}

fn read(source: impl Read) -> anyhow::Result<String> {
    let mut text = String::new();
    source.take(LIMIT + 1).read_to_string(&mut text)?;
    ensure!(text.len() as u64 <= LIMIT, "more than {} MiB are no manifests", LIMIT >> 20);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: legacy\n  labels:\n    secret-handshake: \"true\"\nspec:\n  containers:\n  - name: legacy # the one\n    image: legacy\n";
    const CONFIG: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}   # as it was\ndata:\n  mode: 0444\n  \"on\": yes\n";

    fn args() -> InjectArgs {
        InjectArgs { file: "-".into(), namespace_label: None, namespace: None }
    }

    fn injected(text: &str) -> Injected {
        inject(text, args(), Policy::default()).unwrap()
    }

    fn report(injected: &Injected) -> Vec<String> {
        injected.report.iter().map(ToString::to_string).collect()
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
            "%YAML 1.1\n---\nkind: X\n",
        ] {
            assert_eq!(injected(text).manifests, text);
        }
        let two = format!("# head\n---\n{CONFIG}--- # next\n{POD}");
        let out = injected(&two).manifests;
        assert!(out.starts_with(&format!("# head\n---\n{CONFIG}---\n")), "{out}");
        assert!(out.contains("--half-file="), "{out}");
    }

    #[test]
    fn each_object_gets_its_line() {
        let text = format!("{CONFIG}---\n{POD}---\n{}", POD.replace("\"true\"", "\"off\""));
        assert_eq!(
            report(&injected(&text)),
            [
                "ConfigMap/settings: unchanged: not a kind of object that is changed here",
                "Pod/legacy: injected (classic)",
                "Pod/legacy: unchanged: the label secret-handshake says no",
            ]
        );
    }

    #[test]
    fn an_injected_manifest_injected_again_stays_as_it_is() {
        let once = injected(POD).manifests;
        let twice = injected(&once);
        assert_eq!(twice.manifests, once);
        assert_eq!(
            report(&twice),
            ["Pod/legacy: unchanged: there is a container secret-handshake already"]
        );
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
    }

    #[test]
    fn json_is_read_too_several_objects_in_a_row_as_well() {
        let json = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"\ud83d\ude00","labels":{"secret-handshake":""}},"spec":{"containers":[{"name":"legacy"}]}}"#;
        let config = r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}"#;
        let out = injected(&format!("{json}\n{config}\n"));
        assert_eq!(out.report.len(), 2);
        assert!(out.manifests.ends_with(&format!("---\n{config}\n")), "{}", out.manifests);
        // A YAML flow mapping begins like JSON and is none.
        assert_eq!(report(&injected("{kind: ConfigMap, metadata: {name: c}}\n")).len(), 1);
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
            assert!(out.replace('\'', "\"").contains(kept), "{kept}: {out}");
        }
    }

    #[test]
    fn what_the_namespace_wishes_is_a_flag() {
        let plain = POD.replace("secret-handshake:", "other:");
        let with = |namespace_label: Option<&str>| {
            let args = InjectArgs { namespace_label: namespace_label.map(str::to_owned), ..args() };
            report(&inject(&plain, args, Policy::default()).unwrap()).remove(0)
        };
        assert_eq!(with(None), "Pod/legacy: unchanged: no label secret-handshake");
        assert_eq!(
            with(Some("disabled")),
            "Pod/legacy: unchanged: the label secret-handshake says no"
        );
        assert_eq!(with(Some("")), "Pod/legacy: injected (classic)");
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
        assert!(
            line.contains("hostNetwork") && line.contains("belongs on the pod template"),
            "{line}"
        );
        let nearest =
            injected(&deployment("{secret-handshake: a}", "{secret-handshake: \"false\"}"));
        assert_eq!(nearest.report[0].treatment, Treatment::Unchanged);

        // One that only inherits is let through, and its template says why.
        let args = InjectArgs { namespace_label: Some("true".to_owned()), ..args() };
        let inherited = inject(&deployment("{}", "{}"), args, Policy::default()).unwrap();
        assert_eq!(inherited.report[0].treatment, Treatment::Noted);
        assert!(inherited.manifests.contains("secret-handshake/status"), "{}", inherited.manifests);
    }

    #[test]
    fn an_object_that_kubernetes_would_not_take_is_refused_with_its_place() {
        for (text, expected) in [
            (POD.replace("\"true\"", "true"), "in YAML, quotes make it one"),
            (POD.replace("containers:\n", "containers: none\n  other:\n"), "a sequence"),
        ] {
            let out = injected(&text);
            assert_eq!(out.report[0].treatment, Treatment::Refused, "{text}");
            assert!(out.report[0].to_string().contains(expected), "{}", out.report[0]);
        }
        for text in ["a: [", "a: 1\na: 2\n", "{\"a\": ", "\"open", "a: *nowhere"] {
            let error = inject(text, args(), Policy::default()).unwrap_err();
            assert!(format!("{error:#}").contains("document 1"), "{error:#}");
        }
    }
}
