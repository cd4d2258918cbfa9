//! `kubectl`, as people use it: what it prints is what they see.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// How long one call may take.
const CALL: Duration = Duration::from_secs(120);

/// A `kubectl` that talks to one cluster.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: Option<PathBuf>,
    context: Option<String>,
    cache: PathBuf,
}

/// What a call printed.
#[derive(Clone, Debug)]
pub struct Printed {
    /// Whether it exited with 0.
    pub success: bool,
    /// Its exit code; -1 if a signal ended it.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error: warnings and refusals.
    pub stderr: String,
}

impl Kubectl {
    /// `program`, with what it learns about the cluster kept in the folder `cache`.
    #[must_use]
    pub fn new(
        program: PathBuf,
        kubeconfig: Option<PathBuf>,
        context: Option<String>,
        cache: PathBuf,
    ) -> Self {
        Self { program, kubeconfig, context, cache }
    }

    /// Runs `kubectl ARGUMENTS` with `input`, whatever comes of it.
    ///
    /// # Errors
    ///
    /// It does not run, or not to its end in time.
    pub async fn call<A: AsRef<OsStr>>(&self, arguments: &[A], input: &str) -> Result<Printed> {
        let mut command = Command::new(&self.program);
        if let Some(kubeconfig) = &self.kubeconfig {
            command.env("KUBECONFIG", kubeconfig);
        }
        if let Some(context) = &self.context {
            command.arg("--context").arg(context);
        }
        command.arg("--cache-dir").arg(&self.cache).args(arguments);
        let mut child = command
            .kill_on_drop(true)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} does not run", self.program.display()))?;
        let mut stdin = child.stdin.take().context("kubectl has no standard input")?;
        let done = async {
            // A kubectl that has seen enough closes it first.
            let _ = stdin.write_all(input.as_bytes()).await;
            drop(stdin);
            child.wait_with_output().await
        };
        let output = tokio::time::timeout(CALL, done)
            .await
            .with_context(|| format!("kubectl {} did not end", words(arguments)))??;
        Ok(Printed {
            success: output.status.success(),
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs `kubectl ARGUMENTS` and gives its standard output.
    ///
    /// # Errors
    ///
    /// It fails.
    pub async fn run<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Result<String> {
        self.run_with(arguments, "").await
    }

    /// Runs `kubectl ARGUMENTS` with `input` and gives its standard output.
    ///
    /// # Errors
    ///
    /// It fails.
    pub async fn run_with<A: AsRef<OsStr>>(&self, arguments: &[A], input: &str) -> Result<String> {
        let printed = self.call(arguments, input).await?;
        if !printed.success {
            bail!("kubectl {} exited with {}: {}", words(arguments), printed.code, printed.stderr);
        }
        Ok(printed.stdout)
    }
}

fn words<A: AsRef<OsStr>>(arguments: &[A]) -> String {
    let words: Vec<_> = arguments.iter().map(|word| word.as_ref().to_string_lossy()).collect();
    words.join(" ")
}
