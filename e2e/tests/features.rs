//! What cargo compiles for `cargo test` is what it compiles for this crate's commands: nothing is built
//! twice, once with the features that tests ask for and once without.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

use std::collections::BTreeSet;
use std::process::Command;

/// The crates of a build with their features.
fn crates(arguments: &[&str]) -> BTreeSet<String> {
    let mut tree = Command::new(env!("CARGO"));
    tree.args([
        "tree",
        "--locked",
        "--offline",
        "--prefix=none",
        "--no-dedupe",
        "--format={p} {f}",
    ]);
    let output = tree.args(arguments).current_dir(e2e::workspace()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn one_build_is_enough_for_tests_and_commands() {
    let tests = crates(&["--workspace", "--edges=normal,build,dev"]);
    let commands = crates(&["--package=e2e", "--edges=normal,build"]);
    let twice: Vec<_> = commands.difference(&tests).collect();
    assert!(
        twice.is_empty(),
        "tests build these with more features: name them in e2e's dependencies too: {twice:#?}"
    );
}
