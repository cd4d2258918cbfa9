//! `kubectl`, as people use it: what it prints is what they see.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Result, bail};

use crate::command::{command, feed};

const CALL: Duration = Duration::from_secs(240);

#[derive(Clone, Debug)]
pub struct Kubectl {
    pub program: PathBuf,
    /// Its kubeconfig; the usual one without.
    pub kubeconfig: Option<PathBuf>,
    pub context: Option<String>,
    /// The folder for what it learns about the cluster.
    pub cache: PathBuf,
}

#[derive(Clone, Debug)]
pub struct Printed {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Printed {
    fn from(output: Output) -> Self {
        Self {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Printed {
    pub fn warnings(&self) -> Vec<&str> {
        self.stderr.lines().filter_map(|line| line.strip_prefix("Warning: ")).collect()
    }
}

impl Kubectl {
    /// Runs `kubectl ARGUMENTS` with `input`, whatever comes of it.
    pub async fn call<A: AsRef<OsStr>>(&self, arguments: &[A], input: &str) -> Result<Printed> {
        let mut kubectl = command(&self.program, ["--cache-dir"]);
        kubectl.arg(&self.cache);
        if let Some(kubeconfig) = &self.kubeconfig {
            kubectl.env("KUBECONFIG", kubeconfig);
        }
        if let Some(context) = &self.context {
            kubectl.arg("--context").arg(context);
        }
        kubectl.args(arguments);
        Ok(Printed::from(feed(kubectl, input, CALL).await?))
    }

    /// A shell that runs `line` in a folder, as a person types it who has this kubectl and this cluster.
    pub fn shell(&self, line: &str, folder: &Path) -> Command {
        let mut shell = command("sh", ["-c", line]);
        if let Some(kubeconfig) = &self.kubeconfig {
            shell.env("KUBECONFIG", kubeconfig);
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let own = self.program.parent().map(Path::to_owned);
        let path = std::env::join_paths(own.into_iter().chain(std::env::split_paths(&path)));
        shell.envs(path.ok().map(|path| ("PATH", path))).current_dir(folder);
        shell
    }

    /// Runs `kubectl ARGUMENTS`, which must succeed, and gives its standard output.
    pub async fn run<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Result<String> {
        self.run_with(arguments, "").await
    }

    pub async fn run_with<A: AsRef<OsStr>>(&self, arguments: &[A], input: &str) -> Result<String> {
        let printed = self.call(arguments, input).await?;
        if !printed.success {
            let words: Vec<_> =
                arguments.iter().map(|word| word.as_ref().to_string_lossy()).collect();
            bail!("kubectl {} failed: {}", words.join(" "), printed.stderr);
        }
        Ok(printed.stdout)
    }
}
