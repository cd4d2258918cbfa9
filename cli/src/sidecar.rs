//! The sidecar in a pod that a cluster has.

use injection::{Mode, SIDECAR, is_sidecars_argument, printable};
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod};

/// Longer names are cut: the longest that a registry takes is about as long.
const LONGEST_IMAGE: usize = 512;

/// The sidecar of a pod.
#[derive(Clone, Debug, PartialEq)]
pub struct Sidecar {
    /// In which of the pod's two lists it stands: `initContainers` (native) or `containers` (classic).
    pub mode: Mode,
    /// The image as the pod names it.
    pub image: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// What the kubelet says of it; `None` until it has looked at the pod.
    pub status: Option<ContainerStatus>,
}

impl Sidecar {
    /// The sidecar of this pod, if it has one: known by its name and its arguments, since another container
    /// may have its name.
    #[must_use]
    pub fn of(pod: &Pod) -> Option<Self> {
        let spec = pod.spec.as_ref()?;
        let status = pod.status.as_ref();
        let classic = status.and_then(|status| status.container_statuses.as_deref());
        let native = status.and_then(|status| status.init_container_statuses.as_deref());
        Self::in_list(&spec.containers, classic, Mode::Classic).or_else(|| {
            Self::in_list(spec.init_containers.as_deref().unwrap_or_default(), native, Mode::Native)
        })
    }

    fn in_list(
        containers: &[Container],
        statuses: Option<&[ContainerStatus]>,
        mode: Mode,
    ) -> Option<Self> {
        let container = containers.iter().find(|container| is_sidecar(container))?;
        let status = statuses.unwrap_or_default().iter().find(|status| status.name == SIDECAR);
        Some(Self {
            mode,
            image: printable(container.image.as_deref().unwrap_or_default(), LONGEST_IMAGE),
            args: container.args.clone().unwrap_or_default(),
            status: status.cloned(),
        })
    }

    /// The value of an argument `--FLAG=VALUE`, such as `legacy-port`. Whoever makes a pod writes its
    /// arguments, and what is given here comes into commands and requests: of other values than the webhook
    /// writes there is none.
    #[must_use]
    pub fn argument(&self, flag: &str) -> Option<&str> {
        let mut args = self.args.iter().filter_map(|argument| argument.strip_prefix("--"));
        let value = args.find_map(|argument| argument.strip_prefix(flag)?.strip_prefix('='));
        value.filter(|value| is_plain(value, b"-._:/"))
    }

    /// The Secret that the half comes from, and its key.
    #[must_use]
    pub fn secret(&self) -> Option<(&str, &str)> {
        let name = |flag| self.argument(flag).filter(|value| is_plain(value, b"-._"));
        Some((name("secret")?, name("secret-key")?))
    }
}

/// Whether a value is a word of letters, digits and some others, and leads out of no folder.
fn is_plain(value: &str, others: &[u8]) -> bool {
    let is_one = |byte: u8| byte.is_ascii_alphanumeric() || others.contains(&byte);
    let is_part = |part: &str| part != "." && part != "..";
    (1..=1024).contains(&value.len())
        && value.bytes().all(is_one)
        && !value.starts_with('-')
        && value.split('/').all(is_part)
}

/// Whether a container is the sidecar, and not another one of its name.
#[must_use]
pub fn is_sidecar(container: &Container) -> bool {
    let mut args = container.args.iter().flatten();
    container.name == SIDECAR && args.any(|argument| is_sidecars_argument(argument))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_sidecar_is_known_by_its_name_and_its_arguments() {
        let legacy = json!({"name": "legacy"});
        let ours = json!({"name": "secret-handshake", "image": "i:1",
            "args": ["--legacy-port=3000", "--secret=s", "--secret-key=k"]});
        let others = json!({"name": "secret-handshake", "args": ["--port=3000"]});
        let bare = json!({"name": "secret-handshake"});
        let elsewhere = json!({"name": "sidecar", "args": ["--legacy-port=3000"]});
        let pod = |containers: &[&Value], init: &[&Value]| -> Pod {
            let status = |lists: &[&Value]| {
                let statuses = lists.iter().map(|it| {
                    json!({"name": it["name"], "image": "", "imageID": "", "ready": true, "restartCount": 0})
                });
                statuses.collect::<Vec<_>>()
            };
            serde_json::from_value(json!({
                "spec": {"containers": containers, "initContainers": init},
                "status": {"containerStatuses": status(containers),
                    "initContainerStatuses": status(init)},
            }))
            .unwrap()
        };
        for (containers, init, expected) in [
            (vec![&legacy, &ours], vec![], Some(Mode::Classic)),
            (vec![&legacy], vec![&ours], Some(Mode::Native)),
            (vec![&legacy], vec![], None),
            (vec![&legacy, &others], vec![], None),
            (vec![&legacy, &bare], vec![], None),
            (vec![&elsewhere], vec![], None),
            (vec![&others], vec![&ours], Some(Mode::Native)),
        ] {
            let found = Sidecar::of(&pod(&containers, &init));
            assert_eq!(found.as_ref().map(|it| it.mode), expected, "{containers:?} {init:?}");
            if let Some(found) = found {
                assert_eq!(found.image, "i:1");
                assert_eq!(found.argument("secret"), Some("s"));
                assert_eq!(found.argument("secret-key"), Some("k"));
                assert_eq!(found.argument("half-file"), None);
                assert!(found.status.is_some_and(|status| status.ready));
            }
        }
        assert_eq!(Sidecar::of(&Pod::default()), None);
    }

    #[test]
    fn what_the_webhook_would_not_write_is_not_given() {
        for (secret, key) in [
            ("x$(touch${IFS}/tmp/x)", "half"),
            ("../../other/secrets/s", "half"),
            ("x?watch=1", "half"),
            ("", "half"),
            ("-n", "half"),
            ("s", "half;reboot"),
            ("s", "../half"),
            ("s\u{1b}[31m", "half"),
        ] {
            let args = vec![format!("--secret={secret}"), format!("--secret-key={key}")];
            let (mode, image, status) = (Mode::Classic, String::new(), None);
            let sidecar = Sidecar { mode, image, args, status };
            assert_eq!(sidecar.secret(), None, "{secret} {key}");
        }
        let container = json!({"name": "secret-handshake", "image": "i\u{1b}[31m\u{202e}",
            "args": ["--legacy-port=3000"]});
        let pod = json!({"spec": {"containers": [container]}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        assert_eq!(Sidecar::of(&pod).unwrap().image, "i?[31m?");
    }
}
