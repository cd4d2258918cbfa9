//! What the documents say agrees with the code: links, anchors, settings, flags, commands.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory as _;
use e2e::workspace;

/// The documents that people read, by their path in the workspace.
fn documents() -> BTreeMap<PathBuf, String> {
    let folders = [workspace().to_owned(), workspace().join("docs")];
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let paths = files.map(|file| file.unwrap().path());
    let paths = paths.filter(|path| path.extension().is_some_and(|end| end == "md"));
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (path.strip_prefix(workspace()).unwrap().to_owned(), text)
    };
    paths.map(read).collect()
}

fn document(path: &str) -> String {
    fs::read_to_string(workspace().join(path)).unwrap()
}

/// The lines outside of code blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut in_code = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        !in_code && !fence
    })
}

/// The anchors that the code hosts give to headings: lower case, without punctuation, with hyphens.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).filter_map(|line| line.trim_start_matches('#').strip_prefix(' '));
    let anchor = |heading: &str| {
        let kept = heading.trim().chars().filter(|it| it.is_alphanumeric() || " -_".contains(*it));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

/// The targets of `[words](target)`.
fn links(text: &str) -> Vec<String> {
    let text = prose(text).collect::<Vec<_>>().join("\n");
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    targets.map(|(target, _)| target.to_owned()).collect()
}

#[test]
fn every_relative_link_and_anchor_leads_somewhere() {
    let documents = documents();
    for (path, text) in &documents {
        for link in links(text).iter().filter(|link| !link.starts_with("https://")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let folder = path.parent().unwrap();
            let target = if file.is_empty() { path.clone() } else { normal(&folder.join(file)) };
            let place = path.display();
            assert!(workspace().join(&target).exists(), "{place}: {link} leads nowhere");
            if !anchor.is_empty() {
                let text = &documents[&target];
                assert!(anchors(text).contains(anchor), "{place}: no heading for {link}");
            }
        }
    }
}

/// Without `..`.
fn normal(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut folded, part| {
        if part.as_os_str() == ".." {
            folded.pop();
        } else {
            folded.push(part);
        }
        folded
    })
}

#[test]
fn the_readme_is_one_page() {
    let lines = document("README.md").lines().count();
    assert!(lines <= 170, "{lines} lines");
}

/// The rows of the table below a heading: the first cell, and the second.
fn rows(text: &str, heading: &str) -> BTreeMap<String, String> {
    let lines = text.lines().skip_while(|line| *line != heading).skip(1);
    let lines = lines.take_while(|line| !line.starts_with("## "));
    let cells = lines.filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let row = |(name, rest): (&str, &str)| {
        let default = rest.split('|').next().unwrap().trim().trim_matches('`');
        (name.to_owned(), default.to_owned())
    };
    cells.map(row).collect()
}

#[test]
fn every_annotation_is_documented() {
    let documented = rows(&document("docs/settings.md"), "# Settings");
    let documented: BTreeSet<_> = documented.keys().map(String::as_str).collect();
    assert_eq!(documented, BTreeSet::from(injection::keys::SETTINGS));
}

#[test]
fn every_flag_of_the_webhook_is_documented_with_its_default() {
    let documented = rows(&document("docs/settings.md"), "## Flags of the webhook");
    let command = webhook::args::Args::command();
    let flags = command.get_arguments().filter(|flag| !flag.is_hide_set());
    let flags: BTreeMap<_, _> = flags
        .filter_map(|flag| {
            let defaults = flag.get_default_values();
            let default: Vec<_> = defaults.iter().map(|value| value.to_string_lossy()).collect();
            Some((format!("--{}", flag.get_long()?), default.join(",")))
        })
        .filter(|(flag, _)| !["--help", "--version"].contains(&flag.as_str()))
        .collect();
    assert_eq!(documented.keys().collect::<Vec<_>>(), flags.keys().collect::<Vec<_>>());
    for (flag, default) in flags.iter().filter(|(_, default)| !default.is_empty()) {
        assert_eq!(&documented[flag], default, "{flag}");
    }
}

#[test]
fn every_flag_of_the_sidecar_is_documented_with_its_default() {
    let documented = rows(&document("docs/settings.md"), "## Flags of the sidecar");
    let mut flags = BTreeMap::new();
    let mut last = String::new();
    for line in sidecar::args::HELP.lines() {
        if let Some(flag) = line.strip_prefix("  --") {
            last = format!("--{}", flag.split(' ').next().unwrap());
            flags.insert(last.clone(), String::new());
        }
        if let (Some((_, rest)), Some(default)) =
            (line.split_once("(default "), flags.get_mut(&last))
        {
            *default = rest.split(')').next().unwrap().to_owned();
        }
        if let Some((_, rest)) = line.split_once("; at most 4s, as the probe") {
            assert!(rest.contains("default 4s"), "{line}");
            flags.insert("--hold".to_owned(), "4s".to_owned());
        }
    }
    assert_eq!(documented, flags);
}

/// How a command begins that stands in a `console` block, and what runs it: a scenario, `.ci/run`, or a test;
/// or why nothing does.
const COMMANDS: &[(&str, &str)] = &[
    ("cargo demo", ".ci/run"),
    ("cargo test", ".ci/run"),
    ("cargo e2e", ".ci/run"),
    ("cargo images --load kind", "its arguments are tested: there is no kind in the gate"),
    ("cargo images", ".ci/run"),
    ("cargo footprint", "by hand: it takes minutes"),
    ("docker build", "cargo images --local-builder, in .ci/run"),
    ("docker run", "cargo images --test, in .ci/run"),
    ("cd deploy/webhook", "the shell's own"),
    ("kustomize edit set image", "e2e/tests/manifests edits what it edits"),
    ("kubectl apply -k deploy/webhook", "legacy/quick-start"),
    ("kubectl -n secret-handshake rollout status", "legacy/quick-start"),
    ("kubectl apply -k deploy/demo", "legacy/quick-start"),
    ("kubectl -n legacy-automation-demo", "legacy/quick-start"),
    ("kubectl label namespace NAME", "the user's own namespace; calls/… label theirs by the API"),
    (
        "kubectl -n NAME create secret",
        "the user's own; the log's command is pasted by secret/missing",
    ),
    ("kubectl apply -f legacy.yaml", "the user's own"),
    ("kubectl delete mutatingwebhookconfiguration", "chart/helm-4"),
    ("kubectl delete -k deploy/webhook", "chart/helm-4"),
    (
        "kubectl kustomize deploy/demo | kubectl secret-handshake inject",
        "cli/tests; diff is kubectl's own",
    ),
    ("kubectl annotate namespace legacy", "settings/half-from-elsewhere"),
    ("kubectl get pods -A -o jsonpath", "kubectl's own; refusals/inherited sets what it prints"),
    ("# ", "a comment"),
    ("kubectl -n secret-handshake annotate secret", "certificates/rotation"),
    ("kubectl -n secret-handshake patch secret", "certificates/secret-emptied"),
    ("kubectl secret-handshake check", "check/all-well"),
    ("kubectl secret-handshake upgrade", "upgrade/three"),
    ("kubectl apply -k deploy/policy/guard", "policy/guard"),
    ("kubectl apply -k deploy/policy", "policy/same-objects"),
    ("kubectl delete validatingadmissionpolicybinding", "policy/under-load"),
    ("sleep 5", "policy/under-load"),
    ("kubectl delete -k deploy/policy", "policy/under-load"),
    ("kubectl -n legacy create -f legacy.yaml", "policy/guard"),
    ("kubectl patch validatingadmissionpolicybinding", "policy/guard"),
    ("helm install", "chart/helm-4"),
    ("helm upgrade", "chart/helm-4"),
    ("helm uninstall", "chart/helm-4"),
];

#[test]
fn every_command_is_known_to_a_test() {
    let mut unused: BTreeSet<_> = COMMANDS.iter().map(|(start, _)| *start).collect();
    for (path, text) in documents() {
        let mut in_console = false;
        for line in text.lines() {
            if line.starts_with("```") {
                in_console = line == "```console";
            } else if let Some(command) = line.strip_prefix("$ ").filter(|_| in_console) {
                let known = COMMANDS.iter().find(|(start, _)| command.starts_with(start));
                let (start, _) = known.unwrap_or_else(|| panic!("{}: {command}", path.display()));
                unused.remove(start);
            }
        }
    }
    assert!(unused.is_empty(), "in no document: {unused:?}");
    let scenarios = fs::read_dir(workspace().join("e2e/src/scenarios")).unwrap();
    let scenarios = scenarios.map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
    let scenarios: String = scenarios.collect();
    for (_, by) in COMMANDS.iter().filter(|(_, by)| by.contains('/') && !by.contains([' ', '.'])) {
        assert!(scenarios.contains(&format!("\"{by}\"")), "there is no scenario {by}");
    }
}
