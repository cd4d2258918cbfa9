//! Containers, run by Docker with what a pod's container asks of a kubelet.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1 as core;
use serde_json::Value;

use super::engine::Engine;
use crate::command::read;

/// A container, removed when this is dropped.
#[derive(Debug)]
pub struct Container<'a> {
    engine: &'a Engine,
    id: String,
    image: String,
}

#[derive(Clone, Copy, Debug)]
pub struct End {
    pub code: i64,
    pub took: Duration,
}

impl<'a> Container<'a> {
    /// Starts `image` with the arguments for its entry point; `flags` are `docker run`'s.
    pub fn run(
        engine: &'a Engine,
        image: &str,
        flags: &[String],
        arguments: &[String],
    ) -> Result<Self> {
        let mut run = engine.command(["run", "--detach"]);
        let id = read(run.args(flags).arg(image).args(arguments))?;
        Ok(Self { engine, id, image: image.to_owned() })
    }

    /// The flag that puts another container into this one's network namespace.
    pub fn network(&self) -> String {
        format!("--network=container:{}", self.id)
    }

    /// The process id, as this machine counts.
    pub fn pid(&self) -> Result<u32> {
        let pid = self.state()?["Pid"].as_u64().unwrap_or_default();
        if pid == 0 {
            bail!("{} is not running; it said: {}", self.image, self.logs()?);
        }
        Ok(u32::try_from(pid)?)
    }

    pub fn state(&self) -> Result<Value> {
        let mut inspect = self.engine.command(["inspect", "--format={{json .State}}", &self.id]);
        let text = read(&mut inspect)?;
        serde_json::from_str(&text).context("what docker says of a container")
    }

    pub fn logs(&self) -> Result<String> {
        let output =
            self.engine.command(["logs", &self.id]).output().context("can't run docker logs")?;
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        Ok(text)
    }

    /// Sends SIGTERM and waits for the end, as a kubelet does; after 10 s Docker sends SIGKILL.
    pub fn stop(&self) -> Result<End> {
        let started = Instant::now();
        read(&mut self.engine.command(["stop", "--time=10", &self.id]))?;
        let took = started.elapsed();
        let code =
            self.state()?["ExitCode"].as_i64().context("a container without an exit code")?;
        Ok(End { code, took })
    }

    pub fn start(&self) -> Result<()> {
        read(&mut self.engine.command(["start", &self.id])).map(drop)
    }

    /// The most memory that it has used, in bytes, where the kernel's accounting can be found.
    pub fn peak_memory(&self) -> Option<u64> {
        let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", self.pid().ok()?)).ok()?;
        groups.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            let file = match controllers {
                "" => format!("/sys/fs/cgroup{path}/memory.peak"),
                "memory" => format!("/sys/fs/cgroup/memory{path}/memory.max_usage_in_bytes"),
                _ => return None,
            };
            std::fs::read_to_string(file).ok()?.trim().parse().ok()
        })
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        // What is left behind goes with its daemon.
        let _ = read(&mut self.engine.command(["rm", "--force", "--volumes", &self.id]));
    }
}

/// The flags of `docker run` that come to the same as the container's limits and security context in
/// a pod. The user is left to the image, as it is for whoever runs it without Kubernetes.
pub fn hardening(container: &core::Container) -> Result<Vec<String>> {
    let mut flags = Vec::new();
    let context = container.security_context.clone().unwrap_or_default();
    if context.read_only_root_filesystem == Some(true) {
        flags.push("--read-only".to_owned());
    }
    if context.allow_privilege_escalation == Some(false) {
        flags.push("--security-opt=no-new-privileges".to_owned());
    }
    for capability in context.capabilities.and_then(|set| set.drop).unwrap_or_default() {
        flags.push(format!("--cap-drop={capability}"));
    }
    let resources = container.resources.clone().unwrap_or_default();
    let limits = resources.limits.unwrap_or_default();
    if let Some(memory) = limits.get("memory") {
        let mebibytes = memory.0.strip_suffix("Mi").with_context(|| {
            format!("the memory limit {} isn't in Mi, which is all that this test reads", memory.0)
        })?;
        // As much swap as memory means none at all.
        flags.push(format!("--memory={mebibytes}m"));
        flags.push(format!("--memory-swap={mebibytes}m"));
    }
    if let Some(cpu) = limits.get("cpu") {
        flags.push(format!("--cpus={}", cpus(&cpu.0)?));
    }
    Ok(flags)
}

/// A Kubernetes CPU quantity, such as `50m`, as the decimal number that Docker takes.
pub fn cpus(quantity: &str) -> Result<String> {
    let Some(thousandths) = quantity.strip_suffix('m') else {
        return Ok(quantity.to_owned());
    };
    let thousandths: u32 = thousandths.parse().with_context(|| format!("the CPU {quantity:?}"))?;
    Ok(format!("{}.{:03}", thousandths / 1000, thousandths % 1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_limits_and_security_context_become_dockers_flags() {
        let container = serde_json::from_value(serde_json::json!({
            "name": "x",
            "resources": {"limits": {"memory": "12Mi", "cpu": "50m"}},
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            },
        }))
        .unwrap();
        assert_eq!(
            hardening(&container).unwrap(),
            [
                "--read-only",
                "--security-opt=no-new-privileges",
                "--cap-drop=ALL",
                "--memory=12m",
                "--memory-swap=12m",
                "--cpus=0.050",
            ]
        );
    }

    #[test]
    fn cpu_quantities() {
        for (quantity, expected) in
            [("10m", "0.010"), ("1500m", "1.500"), ("2", "2"), ("0.1", "0.1")]
        {
            assert_eq!(cpus(quantity).unwrap(), expected);
        }
        assert!(cpus("xm").is_err());
    }
}
