//! `kubectl secret-handshake inject` as a process, as people use it.

#![expect(clippy::unwrap_used, reason = "a failed expectation is how a test fails")]

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;

const DEPLOYMENT: &str = "\
# Legacy
apiVersion: apps/v1
kind: Deployment
metadata:
  name: legacy-mock
  labels:
    secret-handshake: \"true\"
spec:
  selector:
    matchLabels: {app: legacy-mock}
  template:
    metadata:
      labels: {app: legacy-mock}
    spec:
      containers:
      - name: legacy-mock
        image: legacy-mock
";

fn inject(args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kubectl-secret_handshake"))
        .arg("inject")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A child that refuses its flags doesn't read; that is its answer, not an error here.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

#[test]
fn the_manifest_goes_to_stdout_and_the_reasons_to_stderr() {
    let output = inject(&["-f", "-", "-n", "apps"], DEPLOYMENT);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{errors}");
    assert_eq!(errors, "Deployment/legacy-mock: injected (classic)\n");
    let deployment: Deployment = serde_saphyr::from_slice(&output.stdout).unwrap();
    let pod = deployment.spec.template.spec.unwrap();
    let names: Vec<_> = pod.containers.iter().map(|container| container.name.as_str()).collect();
    assert_eq!(names, ["legacy-mock", "secret-handshake"]);
    assert!(pod.containers[1].args.as_ref().unwrap().contains(&"--namespace=apps".to_owned()));
}

#[test]
fn the_demo_of_legacy_gets_the_sidecar_by_the_namespaces_label() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/demo/legacy.yaml");
    let output = inject(&["--namespace-label", "true", "-f", file], "");
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{errors}");
    assert!(errors.contains("Deployment/legacy-mock: injected (classic)\n"), "{errors}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("--half-file="));
}

#[test]
fn a_file_is_read_and_a_file_that_is_not_there_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), DEPLOYMENT).unwrap();
    let path = file.path().to_str().unwrap();
    assert!(inject(&["--filename", path], "").status.success());
    let output = inject(&["--filename", "/nowhere/legacy.yaml"], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere/legacy.yaml"));
}

#[test]
fn a_url_is_refused_with_what_to_do() {
    for url in ["https://example.com/legacy.yaml", "http://example.com/legacy.yaml"] {
        let output = inject(&["-f", url], "");
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert!(errors.contains("URLs are not read: download it first"), "{errors}");
        assert!(errors.contains(&format!("curl -L {url} | ")), "{errors}");
    }
}

#[test]
fn flags_that_no_pod_could_be_injected_with_are_bad_usage() {
    for (flags, expected) in [
        (&["--sidecar-image", ""][..], "expected an image"),
        (&["--sidecar-port", "13300"], "--sidecar-port and --sidecar-health-port are both 13300"),
        (
            &["--sidecar-half-file", "/half", "--sidecar-secret-name", "s"],
            "'--sidecar-half-file <FILE>' cannot be used with '--sidecar-secret-name <NAME>'",
        ),
    ] {
        let output = inject(&[flags, &["-f", "-"]].concat(), DEPLOYMENT);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{errors}");
        assert!(output.stdout.is_empty() && errors.contains(expected), "{errors}");
    }
}

#[test]
fn nothing_is_written_when_one_object_cannot_have_what_it_asks_for() {
    let refused = DEPLOYMENT.replace(
        "    spec:\n      containers",
        "    spec:\n      hostNetwork: true\n      containers",
    );
    let output = inject(&["-f", "-"], &format!("{DEPLOYMENT}---\n{refused}"));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(output.stdout.is_empty(), "nothing half-done is applied");
    let refused =
        "injected (classic)\nstandard input: document 2: Deployment/legacy-mock: refused: ";
    assert!(errors.contains(refused), "{errors}");
    assert!(errors.contains("1 of 2 objects refused: nothing is written"), "{errors}");
}

#[test]
fn files_and_folders_are_read_as_kubectl_reads_them() {
    let folder = tempfile::tempdir().unwrap();
    let config = |name: &str| format!("kind: ConfigMap\nmetadata: {{name: {name}}}\n");
    std::fs::create_dir_all(folder.path().join("b/c")).unwrap();
    for (file, text) in [
        ("z.yml", config("z")),
        ("a.yaml", config("a")),
        ("b/c/d.yaml", config("d")),
        ("k.json", "{\"kind\":\"X\",\"metadata\":{\"name\":\"k\"}}".to_owned()),
        ("notes.txt", "no manifest: [".to_owned()),
        ("b/notes", "no manifest: [".to_owned()),
    ] {
        std::fs::write(folder.path().join(file), text).unwrap();
    }
    let path = folder.path().to_str().unwrap();
    let notes = format!("{path}/b/notes");
    std::fs::write(&notes, config("notes")).unwrap();
    let names = |args: &[&str]| -> Vec<String> {
        let output = inject(args, &config("stdin"));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stderr).unwrap();
        let name = |line: &str| line.split(['/', ':']).nth(1).unwrap().to_owned();
        lines.lines().map(name).collect()
    };
    assert_eq!(names(&["-f", path]), ["a", "k", "z"]);
    assert_eq!(names(&["-f", path, "-R"]), ["a", "d", "k", "z"]);
    // A file that is named needs no ending, and the order is that of the flags.
    assert_eq!(names(&["-f", &notes, "-f", "-", "-f", path]), ["notes", "stdin", "a", "k", "z"]);
    let error = inject(&["-f", &format!("{path}/b")], "").stderr;
    assert!(String::from_utf8_lossy(&error).contains("holds no .json, .yaml or .yml file"));
}

#[test]
fn input_beyond_the_limit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let half = format!("# {}\n", "x".repeat(33 << 20));
    std::fs::write(path("a.yaml"), &half).unwrap();
    assert!(inject(&["-f", &path("a.yaml")], "").status.success());
    std::fs::write(path("b.yaml"), &half).unwrap();
    let output = inject(&["-f", &path("a.yaml"), "-f", &path("b.yaml")], "");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && errors.contains("b.yaml"), "{errors}");
    assert!(errors.contains("the input is larger than 64 MiB"), "{errors}");
}

#[test]
fn the_help_says_what_becomes_of_comments() {
    let output = Command::new(env!("CARGO_BIN_EXE_kubectl-secret_handshake"))
        .args(["inject", "--help"])
        .output()
        .unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(help.contains("Documents that are changed lose their comments"), "{help}");
}

/// A shell, because only it can close what the process is to write to.
fn shell(script: &str) -> Output {
    Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_kubectl-secret_handshake")])
        .output()
        .unwrap()
}

#[test]
fn a_broken_pipe_ends_quietly() {
    // More than a pipe holds, and whoever reads is gone.
    let manifests = "for i in $(seq 20000); do echo '---'; echo 'kind: ConfigMap'; done";
    let script = format!(
        "{{ {manifests} | $0 inject -f - 2>errors; echo $? >code; }} | true; cat code; grep -v unchanged errors"
    );
    let folder = tempfile::tempdir().unwrap();
    let output = shell(&format!("cd {} && {script}", folder.path().display()));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "0\n");
}

#[test]
fn a_report_that_nobody_can_be_told_does_not_stop_the_manifests() {
    for errors in ["2>&-", "2>/dev/full"] {
        let output = shell(&format!("echo 'kind: ConfigMap' | $0 inject -f - {errors}"));
        assert!(output.status.success(), "{errors}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "kind: ConfigMap\n", "{errors}");
    }
}

/// One manifest in ten asks for the sidecar.
#[test]
#[ignore = "measures: cargo test --release -p cli --test inject -- --ignored --nocapture"]
fn sixty_thousand_documents_take_at_most_4_seconds() {
    const DOCUMENTS: usize = 60_000;
    let padding = "#".repeat(58_000_000 / DOCUMENTS - DEPLOYMENT.len() - 5);
    let plain = DEPLOYMENT.replace("\"true\"", "\"off\"");
    let manifests = (0..DOCUMENTS).map(|index| {
        let document = if index % 10 == 0 { DEPLOYMENT } else { &plain };
        format!("{document}{padding}\n---\n")
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("manifests.yaml");
    std::fs::write(&file, manifests.collect::<String>()).unwrap();

    let start = Instant::now();
    let output = inject(&["-f", file.to_str().unwrap()], "");
    let took = start.elapsed();
    println!("{DOCUMENTS} documents of 58 MB in {took:.1?}");
    let report = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{report}");
    assert_eq!(report.lines().filter(|line| line.contains(": injected")).count(), DOCUMENTS / 10);
    assert!(took <= Duration::from_secs(4), "{took:?}");
}
