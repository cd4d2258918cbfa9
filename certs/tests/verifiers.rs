//! What is issued, asked of verifiers that others wrote: OpenSSL's, Go's, and the binary as people
//! run it. A verifier that is not on this machine is passed over, and says so.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failed unwrap is how a test fails, and stdout is where it tells what it left out"
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

const NAME: &str = "secret-handshake-webhook.secret-handshake.svc";

fn certs(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_certs")).args(args).output().unwrap()
}

fn issue(dir: &Path, more: &[&str]) -> Output {
    let out = dir.to_str().unwrap();
    let args = ["issue", "--dns", NAME, "--ip", "127.0.0.1", "--ip", "::1", "--out", out];
    certs(&[&args, more].concat())
}

fn issued(more: &[&str]) -> TempDir {
    let dir = TempDir::new().unwrap();
    let output = issue(dir.path(), more);
    assert!(output.status.success(), "{output:?}");
    dir
}

fn file(dir: &TempDir, name: &str) -> String {
    dir.path().join(name).to_str().unwrap().to_owned()
}

fn is_here(program: &str, probe: &str) -> bool {
    let is_here = Command::new(program).arg(probe).output().is_ok_and(|out| out.status.success());
    if !is_here {
        println!("SKIPPED: {program} is not on this machine");
    }
    is_here
}

#[test]
fn openssl_accepts_the_chain_for_its_names_and_for_no_others() {
    if !is_here("openssl", "version") {
        return;
    }
    let (dir, other) = (issued(&[]), issued(&[]));
    let verify = |ca: &str, check: [&str; 2]| {
        let (leaf, base) =
            (file(&dir, "tls.crt"), ["verify", "-x509_strict", "-purpose", "sslserver"]);
        let args = [&base[..], &["-CAfile", ca], &check, &[&leaf]].concat();
        let output = Command::new("openssl").args(args).output().unwrap();
        (output.status.success(), format!("{output:?}"))
    };
    let (own, foreign) = (file(&dir, "ca.crt"), file(&other, "ca.crt"));
    for (ca, check, expected) in [
        (&own, ["-verify_hostname", NAME], true),
        (&own, ["-verify_ip", "127.0.0.1"], true),
        (&own, ["-verify_ip", "::1"], true),
        (&own, ["-verify_hostname", "elsewhere.svc"], false),
        (&foreign, ["-verify_hostname", NAME], false),
    ] {
        let (accepted, told) = verify(ca, check);
        assert_eq!(accepted, expected, "{check:?}: {told}");
    }
}

/// As an API server does it: the caBundle into a pool, then a chain for the Service's name.
const GO: &str = r#"package main

import (
	"crypto/x509"
	"encoding/pem"
	"os"
)

func main() {
	bundle, _ := os.ReadFile(os.Args[1])
	text, _ := os.ReadFile(os.Args[2])
	block, _ := pem.Decode(text)
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		panic(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(bundle) {
		panic("no root")
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: os.Args[3]}); err != nil {
		panic(err)
	}
}
"#;

#[test]
fn go_accepts_the_chain_with_old_and_new_ca_in_one_bundle() {
    if !is_here("go", "version") {
        return;
    }
    let (dir, other) = (issued(&[]), issued(&[]));
    let program = file(&dir, "verify");
    fs::write(file(&dir, "main.go"), GO).unwrap();
    let built = Command::new("go")
        .args(["build", "-o", &program, &file(&dir, "main.go")])
        .env("GOFLAGS", "-mod=mod")
        .env("GO111MODULE", "off")
        .output()
        .unwrap();
    assert!(built.status.success(), "{built:?}");
    let (own, foreign) = (file(&dir, "ca.crt"), file(&other, "ca.crt"));
    let read = |path: &str| fs::read_to_string(path).unwrap();
    let (both, turned) = (file(&dir, "both.crt"), file(&dir, "turned.crt"));
    fs::write(&both, read(&own) + &read(&foreign)).unwrap();
    fs::write(&turned, read(&foreign) + &read(&own)).unwrap();
    for (bundle, name, expected) in [
        (&own, NAME, true),
        (&both, NAME, true),
        (&turned, NAME, true),
        (&own, "127.0.0.1", true),
        (&own, "elsewhere.svc", false),
        (&foreign, NAME, false),
    ] {
        let args = [bundle.as_str(), &file(&dir, "tls.crt"), name];
        let output = Command::new(&program).args(args).output().unwrap();
        assert_eq!(output.status.success(), expected, "{bundle} {name}: {output:?}");
    }
}

#[test]
fn keys_are_their_owners_alone_and_a_ca_is_not_overwritten_unless_told() {
    let dir = issued(&[]);
    let mode = |name: &str| fs::metadata(file(&dir, name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("tls.key"), mode("tls.crt"), mode("ca.crt")), (0o600, 0o644, 0o644));
    assert!(!dir.path().join("ca.key").exists());
    let read = |name: &str| fs::read_to_string(file(&dir, name)).unwrap();
    let before = (read("ca.crt"), read("tls.crt"), read("tls.key"));

    // The CA's key was thrown away: nothing can be signed, and nothing is touched.
    let refused = issue(dir.path(), &[]);
    assert_eq!(refused.status.code(), Some(1));
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(told.contains("--new-ca") && told.lines().count() == 1, "{told}");
    assert_eq!((read("ca.crt"), read("tls.crt"), read("tls.key")), before);

    assert!(issue(dir.path(), &["--new-ca", "--keep-ca-key"]).status.success());
    assert_eq!(mode("ca.key"), 0o600);
    let second = (read("ca.crt"), read("tls.crt"));
    assert_ne!(second.0, before.0);

    // Its key was kept: the same CA signs again.
    assert!(issue(dir.path(), &[]).status.success());
    assert_eq!(read("ca.crt"), second.0);
    assert_ne!(read("tls.crt"), second.1);

    // A key of another CA must not stand beside a new one.
    assert!(issue(dir.path(), &["--new-ca"]).status.success());
    assert!(!dir.path().join("ca.key").exists());
    let left: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("tmp"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn one_screen_tells_what_is_in_a_file_and_never_a_key() {
    let dir = issued(&["--keep-ca-key", "--life", "36h"]);
    let files = ["ca.crt", "tls.crt", "tls.key", "ca.key"].map(|name| file(&dir, name));
    let output = certs(&["inspect", &files[0], &files[1], &files[2], &files[3]]);
    assert!(output.status.success(), "{output:?}");
    let shown = String::from_utf8(output.stdout).unwrap();
    for expected in [
        "CA certificate CN=secret-handshake CA ",
        "signed by    itself",
        &format!("names        {NAME}, 127.0.0.1, ::1"),
        "ECDSA P-256, for: TLS server",
        "valid, 1 d 11 h left",
        "private key (PKCS#8), not shown",
    ] {
        assert!(shown.contains(expected), "{expected} is missing:\n{shown}");
    }
    for key in [&files[2], &files[3]] {
        let pem = fs::read_to_string(key).unwrap();
        let secret = pem.lines().nth(1).unwrap();
        assert!(!shown.contains(secret));
    }
}

#[test]
fn what_cannot_be_read_is_one_clear_line() {
    let dir = TempDir::new().unwrap();
    let (empty, broken) = (file(&dir, "empty"), file(&dir, "broken"));
    fs::write(&empty, "").unwrap();
    fs::write(&broken, "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n").unwrap();
    for (path, expected) in [
        (&empty, "holds no PEM"),
        (&broken, "a PEM block is broken"),
        (&file(&dir, "nothing"), "cannot open"),
    ] {
        let output = certs(&["inspect", path]);
        assert_eq!(output.status.code(), Some(1));
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains(expected) && told.lines().count() == 1, "{told}");
    }
    let usage = certs(&["issue", "--out", "x"]);
    assert_eq!(usage.status.code(), Some(2));
}
