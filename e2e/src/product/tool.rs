//! `kubectl secret-handshake`, as people run it: what it prints is what they read.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::cluster::kubectl::{Kubectl, Printed};
use lab::command::{command, feed};
use lab::progress::say;
use serde_json::Value;
use tokio::sync::OnceCell;

use super::build::{self, TOOL};

const CALL: Duration = Duration::from_secs(120);

/// The program, built once in a run.
pub(crate) async fn program() -> Result<&'static Path> {
    static PROGRAM: OnceCell<PathBuf> = OnceCell::const_new();
    let program = PROGRAM.get_or_try_init(|| async {
        build::tool().run(say).await?.remove(TOOL).context("cargo built no tool")
    });
    program.await.map(PathBuf::as_path)
}

pub(crate) struct Tool {
    program: PathBuf,
    kubeconfig: Option<PathBuf>,
    context: Option<String>,
}

impl Tool {
    /// Builds it, for the cluster of this kubectl.
    pub(crate) async fn build(kubectl: &Kubectl) -> Result<Self> {
        let program = program().await?.to_owned();
        let (kubeconfig, context) = (kubectl.kubeconfig.clone(), kubectl.context.clone());
        Ok(Self { program, kubeconfig, context })
    }

    /// Runs it with `input`, whatever comes of it.
    pub(crate) async fn call(&self, arguments: &[&str], input: &str) -> Result<Printed> {
        let mut tool = command(&self.program, arguments);
        if let Some(kubeconfig) = &self.kubeconfig {
            tool.arg("--kubeconfig").arg(kubeconfig);
        }
        if let Some(context) = &self.context {
            tool.arg("--context").arg(context);
        }
        Ok(Printed::from(feed(tool, input, CALL).await?))
    }

    /// What it prints when all goes well.
    pub(crate) async fn run(&self, arguments: &[&str], input: &str) -> Result<String> {
        let printed = self.call(arguments, input).await?;
        ensure!(printed.success, "{}: {}", arguments.join(" "), printed.stderr.trim());
        Ok(printed.stdout)
    }

    /// The same as JSON.
    pub(crate) async fn json(&self, arguments: &[&str], input: &str) -> Result<Value> {
        let printed = self.run(&[arguments, &["-o", "json"]].concat(), input).await?;
        serde_json::from_str(&printed).with_context(|| format!("not JSON: {printed}"))
    }
}
