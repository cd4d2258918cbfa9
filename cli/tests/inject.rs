//! `kubectl secret-handshake inject` as a process, as people use it.

#![expect(clippy::unwrap_used, reason = "a failed expectation is how a test fails")]

use std::io::Write;
use std::process::{Command, Output, Stdio};

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
fn a_file_is_read_and_a_file_that_is_not_there_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), DEPLOYMENT).unwrap();
    let path = file.path().to_str().unwrap();
    assert!(inject(&["--file", path], "").status.success());
    let output = inject(&["--file", "/nowhere/legacy.yaml"], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nowhere/legacy.yaml"));
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
    assert!(errors.contains("injected (classic)\nDeployment/legacy-mock: refused: "), "{errors}");
    assert!(errors.contains("1 of 2 objects"), "{errors}");
}
