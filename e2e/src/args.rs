//! The command line of `cargo e2e`.

use clap::{Parser, Subcommand, ValueEnum};

use lab::cluster::release::Version;

/// Shows on a real Kubernetes what the project promises.
///
/// Without a command the scenarios are run: all of them, or those whose names match a PATTERN. With no
/// --context they run on a cluster of their own, made for the run from the programs in
/// `KUBEBUILDER_ASSETS` or, where that is not set, from programs built from Kubernetes' Go modules and
/// kept in $XDG_CACHE_HOME/secret-handshake/kubernetes (ten minutes of two cores the first time; Go is needed). It is
/// gone afterwards, also after Ctrl-C; its logs are kept, and named, when a scenario fails.
///
/// The level control-plane needs no root: the webhook runs as a process, and no pod is ever started.
/// The level node needs Linux, root, containerd, runc, the CNI plugins, iptables and ip, and runs a
/// kubelet and kube-proxy as well, with the product in pods. What can't run here is skipped, with the
/// reason; where the environment says CI=true, a skip counts as a failure.
///
/// The last line is `N passed, N failed`, and `, N skipped` if any was. The exit code is 0 if none
/// failed, 1 if one did, 2 for bad usage.
#[derive(Debug, Parser)]
#[command(
    name = "cargo e2e --",
    bin_name = "cargo e2e --",
    version,
    args_conflicts_with_subcommands = false
)]
pub struct Args {
    /// Which scenarios: each whose name contains one of these, or matches it if there is a `*` in it.
    #[arg(value_name = "PATTERN")]
    pub patterns: Vec<String>,

    /// Use this cluster (a context of your kubeconfig: kind, k3d, minikube, any test cluster) instead
    /// of making one. Scenarios run in namespaces of their own, which are removed afterwards; so is the
    /// product, unless it was installed before. The images must be where the nodes find them (see
    /// `cargo images --load`).
    #[arg(long, value_name = "NAME", global = true, conflicts_with = "kubernetes")]
    pub context: Option<String>,

    /// The release to make a cluster of: 1.37, 1.34, or any other with its patch number [default: 1.37].
    #[arg(long, value_name = "RELEASE", global = true)]
    pub kubernetes: Option<Version>,

    /// One level alone.
    #[arg(long, value_enum, global = true)]
    pub level: Option<Level>,

    /// Those that take over a minute as well. They run by themselves only when they are named.
    #[arg(long)]
    pub long: bool,

    /// Print the names of the scenarios and what each shows, and run none.
    #[arg(long)]
    pub list: bool,

    /// What else to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What a run can take place on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Level {
    /// API server and controllers; the webhook as a process.
    ControlPlane,
    /// Kubelet and kube-proxy as well; the product as pods.
    Node,
}

/// What `cargo e2e` does besides running scenarios.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a cluster, install the product on it and leave it running; prints how to reach it.
    Up,
    /// End the cluster of `up`.
    Down,
    /// Measure, and print a table.
    Bench {
        /// What to measure.
        #[command(subcommand)]
        what: Bench,
    },
    /// Watch over a state directory: used by this program itself.
    #[command(hide = true)]
    Guard {
        /// The state directory.
        dir: std::path::PathBuf,
    },
}

/// What can be measured.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// From a pod's creation to Ready, without the sidecar and with it in both modes, for a fast Legacy
    /// and a slow one. Needs the level node.
    Start {
        /// How many starts of each.
        #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
        starts: usize,
    },
    /// What many idle pods cost a node: CPU of kubelet, containerd and sidecars, for pods without a sidecar,
    /// with it, with one that holds no probe, and with a plain probe of Legacy. Needs the level node.
    Node {
        /// How many pods.
        #[arg(long, value_name = "N", default_value_t = 40)]
        pods: usize,
        /// How many rounds.
        #[arg(short = 'n', long, value_name = "N", default_value_t = 1,
              value_parser = clap::value_parser!(u32).range(1..))]
        rounds: u32,
    },
    /// An admission: CPU, time and memory of the webhook as it is shipped, beside a server in Go that only
    /// echoes. Needs Go and no cluster.
    Admission {
        /// Measure this program instead of building the one that is shipped.
        #[arg(long, value_name = "FILE")]
        webhook: Option<std::path::PathBuf>,
        /// How many rounds.
        #[arg(short = 'n', long, value_name = "N", default_value_t = 10,
              value_parser = clap::value_parser!(u32).range(1..))]
        rounds: u32,
    },
    /// How many pods a second are created with the webhook and without it, what that costs the webhook,
    /// and what it asks of the API server meanwhile. On a control plane alone: no pod is scheduled.
    Scale {
        /// How many labelled pods, and as many unlabelled ones.
        #[arg(long, value_name = "N", default_value_t = 10_000)]
        pods: u64,
    },
    /// How many labelled pods a second are created by the webhook, by the policy and by neither, and how
    /// long one takes. On a control plane alone.
    Policy {
        /// How many rounds, of 500 pods for each.
        #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
        rounds: u64,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn patterns_and_commands_do_not_get_in_each_others_way() {
        let parse = |words: &[&str]| {
            Args::try_parse_from(std::iter::once(&"e2e").chain(words)).map_err(|e| e.to_string())
        };
        assert_eq!(parse(&["rotation", "labels*"]).unwrap().patterns, ["rotation", "labels*"]);
        assert!(matches!(parse(&["up"]).unwrap().command, Some(Command::Up)));
        let older = parse(&["up", "--kubernetes", "1.34"]).unwrap().command;
        assert!(matches!(older, Some(Command::Up)));
        let bench = parse(&["bench", "start", "-n", "5"]).unwrap().command;
        assert!(matches!(bench, Some(Command::Bench { what: Bench::Start { starts: 5 } })));
        assert!(parse(&["--kubernetes", "2.0"]).is_err());
        assert!(parse(&["--context", "a", "--kubernetes", "1.34"]).is_err());
    }
}
