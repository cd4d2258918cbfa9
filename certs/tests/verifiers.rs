//! What is issued, asked of verifiers that others wrote: OpenSSL's and Go's. A verifier that is not
//! on this machine is skipped, and the test says so.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failed unwrap is how a test fails, and stdout is where it tells what it left out"
)]

use std::fs;
use std::process::Command;
use std::time::Duration;

use certs::ca::Authority;
use certs::certificate::{Validity, pem_of};
use jiff::Timestamp;
use tempfile::TempDir;

const NAME: &str = "secret-handshake-webhook.secret-handshake.svc";

/// A folder with the files `ca.crt` and `tls.crt`, good for the Service's names and for loopback.
fn issued() -> TempDir {
    let dir = TempDir::new().unwrap();
    let validity = Validity::starting(Timestamp::now(), Duration::from_secs(3_600));
    let ca = Authority::new(validity).unwrap();
    let leaf = ca.issue(&[NAME, "127.0.0.1", "::1"].map(str::to_owned), validity).unwrap();
    fs::write(file(&dir, "ca.crt"), pem_of([ca.certificate()])).unwrap();
    fs::write(file(&dir, "tls.crt"), pem_of(leaf.chain())).unwrap();
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
    let (dir, other) = (issued(), issued());
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
    let (dir, other) = (issued(), issued());
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
