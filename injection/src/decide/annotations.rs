use super::reason::{Place, Reason};
use crate::keys;
use crate::pod::Metadata;
use crate::policy::Policy;
use crate::quantity::Quantity;
use crate::setting;
use crate::sidecar::{Half, Mode};

/// What is set for a pod's sidecar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings<'a> {
    pub(super) legacy_port: u16,
    pub(super) health_port: u16,
    pub(super) half: Half<'a>,
    /// `None` is `auto`.
    pub(super) mode: Option<Mode>,
    pub(super) log_level: &'a str,
    pub(super) cpu: Option<Quantity>,
    pub(super) memory: Option<Quantity>,
}

/// The annotations in one place.
#[derive(Clone, Copy)]
struct Annotations<'a> {
    place: Place,
    metadata: Option<&'a Metadata>,
}

/// Reads the settings of a pod: from its own annotations, else from those of its Namespace, else from
/// the flags. The first annotation with an invalid value is the reason.
pub(super) fn settings<'a>(
    pod: Option<&'a Metadata>,
    namespace: Option<&'a Metadata>,
    policy: &'a Policy,
) -> Result<Settings<'a>, Reason> {
    let places = places(pod, namespace);
    let health_port = nearest(places, keys::HEALTH_PORT, setting::health_port)?;
    let key = nearest(places, keys::SECRET_KEY, setting::secret_key)?;
    let key = key.unwrap_or(&policy.secret_key);
    let [of_pod, of_namespace] = places;
    let half = match half(of_pod, key)? {
        None => half(of_namespace, key)?,
        of_pod => of_pod,
    };
    let settings = Settings {
        legacy_port: nearest(places, keys::PORT, setting::port)?.unwrap_or(policy.port),
        health_port: health_port.unwrap_or(policy.health_port),
        half: half.unwrap_or_else(|| half_by_flags(policy, key)),
        mode: nearest(places, keys::MODE, setting::mode)?.unwrap_or(policy.mode),
        log_level: nearest(places, keys::LOG_LEVEL, setting::log_level)?
            .unwrap_or(&policy.log_level),
        cpu: nearest(places, keys::CPU, Quantity::cpu)?,
        memory: nearest(places, keys::MEMORY, Quantity::memory)?,
    };
    if settings.legacy_port == settings.health_port {
        return Err(Reason::SamePort {
            port: settings.legacy_port,
            legacy: place(pod, namespace, keys::PORT),
            sidecar: place(pod, namespace, keys::HEALTH_PORT),
        });
    }
    Ok(settings)
}

/// The first place that has this setting.
pub(super) fn place(pod: Option<&Metadata>, namespace: Option<&Metadata>, name: &str) -> Place {
    let place = places(pod, namespace).into_iter().find(|place| place.get(name).is_some());
    place.map_or(Place::Flag, |place| place.place)
}

fn places<'a>(pod: Option<&'a Metadata>, namespace: Option<&'a Metadata>) -> [Annotations<'a>; 2] {
    [(Place::Pod, pod), (Place::Namespace, namespace)]
        .map(|(place, metadata)| Annotations { place, metadata })
}

/// The value in the first place that has one.
fn nearest<'a, T>(
    places: [Annotations<'a>; 2],
    name: &'static str,
    parse: impl FnOnce(&'a str) -> Result<T, &'static str>,
) -> Result<Option<T>, Reason> {
    let place = places.into_iter().find(|place| place.get(name).is_some());
    place.map_or(Ok(None), |place| place.read(name, parse))
}

/// Where the half comes from, if this place says so: three annotations do, and one of them alone can
/// be meant.
fn half<'a>(place: Annotations<'a>, key: &'a str) -> Result<Option<Half<'a>>, Reason> {
    let file = place.read(keys::HALF_FILE, setting::half_file)?.map(Half::File);
    let class = place.read(keys::SECRET_PROVIDER_CLASS, setting::object_name)?;
    let provider = class.map(|class| Half::Provider { class, file: key });
    let name = place.read(keys::SECRET_NAME, setting::object_name)?;
    let secret = name.map(|name| Half::Secret { name, key });
    let mut said = [
        (keys::HALF_FILE, file),
        (keys::SECRET_PROVIDER_CLASS, provider),
        (keys::SECRET_NAME, secret),
    ]
    .into_iter()
    .filter_map(|(name, half)| Some((name, half?)));
    match (said.next(), said.next()) {
        (Some((one, _)), Some((other, _))) => {
            Err(Reason::AmbiguousHalf { place: place.place, names: [one, other] })
        }
        (said, _) => Ok(said.map(|(_, half)| half)),
    }
}

fn half_by_flags<'a>(policy: &'a Policy, key: &'a str) -> Half<'a> {
    match (&policy.half_file, &policy.secret_provider_class) {
        (Some(file), _) => Half::File(file),
        (None, Some(class)) => Half::Provider { class, file: key },
        (None, None) => Half::Secret { name: &policy.secret_name, key },
    }
}

impl<'a> Annotations<'a> {
    fn get(self, name: &str) -> Option<&'a str> {
        self.metadata?.annotation(name)
    }

    /// `None` if it isn't there.
    fn read<T>(
        self,
        name: &'static str,
        parse: impl FnOnce(&'a str) -> Result<T, &'static str>,
    ) -> Result<Option<T>, Reason> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        parse(value).map(Some).map_err(|allowed| {
            // kubectl may cut a warning after 256 characters.
            let value = value.chars().take(48).collect();
            Reason::InvalidAnnotation { place: self.place, name, value, allowed }
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn verdict(key: &str, value: &str) -> Result<(), String> {
        set(&json!({ key: value }), &json!({}), &Policy::default()).map(drop)
    }

    /// What is set with these annotations on the pod and on its Namespace, or why it can't be.
    fn set(pod: &Value, namespace: &Value, policy: &Policy) -> Result<String, String> {
        let [pod, namespace] = [pod, namespace].map(|annotations| {
            serde_json::from_value::<Metadata>(json!({ "annotations": annotations })).unwrap()
        });
        let settings = settings(Some(&pod), Some(&namespace), policy);
        settings.map(|settings| format!("{settings:?}")).map_err(|reason| reason.to_string())
    }

    #[test]
    fn without_annotations_the_flags_count() {
        let policy = Policy::default();
        assert_eq!(
            settings(None, None, &policy),
            Ok(Settings {
                legacy_port: 3000,
                health_port: 13300,
                half: Half::Secret { name: "secret-handshake", key: "half" },
                mode: None,
                log_level: "info",
                cpu: None,
                memory: None,
            })
        );
        let policy = Policy { port: 80, secret_name: "s".to_owned(), ..policy };
        let policy = Policy { mode: Some(Mode::Native), log_level: "warn".to_owned(), ..policy };
        let settings = settings(None, None, &policy).unwrap();
        assert_eq!((settings.legacy_port, settings.log_level), (80, "warn"));
        assert_eq!(settings.half, Half::Secret { name: "s", key: "half" });
        assert_eq!(settings.mode, Some(Mode::Native));
    }

    #[test]
    fn each_annotation_is_read_from_the_pod_then_from_its_namespace() {
        let near = json!({
            keys::PORT: "8080", keys::HEALTH_PORT: "1024", keys::SECRET_NAME: "a.b-c", keys::SECRET_KEY: "K_1.txt",
            keys::MODE: "native", keys::LOG_LEVEL: "debug", keys::CPU: "100m", keys::MEMORY: "32Mi",
        });
        let far = json!({
            keys::PORT: "80", keys::HEALTH_PORT: "1025", keys::SECRET_NAME: "far", keys::SECRET_KEY: "far",
            keys::MODE: "classic", keys::LOG_LEVEL: "error", keys::CPU: "1", keys::MEMORY: "1Gi",
        });
        let policy = Policy::default();
        let expected = Settings {
            legacy_port: 8080,
            health_port: 1024,
            half: Half::Secret { name: "a.b-c", key: "K_1.txt" },
            mode: Some(Mode::Native),
            log_level: "debug",
            cpu: Some(Quantity::unchecked("100m")),
            memory: Some(Quantity::unchecked("32Mi")),
        };
        let expected = Ok(format!("{expected:?}"));
        assert_eq!(set(&near, &json!({}), &policy), expected);
        assert_eq!(set(&json!({}), &near, &policy), expected);
        assert_eq!(set(&near, &far, &policy), expected);
        // One by one.
        for (key, value) in near.as_object().unwrap() {
            let mut others = far.clone();
            others.as_object_mut().unwrap().remove(key);
            let mut together = others.clone();
            together[key] = value.clone();
            let expected = set(&together, &json!({}), &policy);
            assert_eq!(set(&json!({ key: value }), &far, &policy), expected, "{key}");
        }
    }

    #[test]
    fn the_nearest_place_that_names_a_source_says_where_the_half_comes_from() {
        let (file, class, name) = (keys::HALF_FILE, keys::SECRET_PROVIDER_CLASS, keys::SECRET_NAME);
        let flag = Policy { half_file: Some("/flag".to_owned()), ..Policy::default() };
        let provider =
            Policy { secret_provider_class: Some("flag".to_owned()), ..Policy::default() };
        let none = json!({});
        for (pod, namespace, policy, expected) in [
            (json!({ file: "/v/half" }), json!({ class: "p" }), &flag, Half::File("/v/half")),
            (
                json!({ class: "p", keys::SECRET_KEY: "k" }),
                json!({ file: "/v/half" }),
                &flag,
                Half::Provider { class: "p", file: "k" },
            ),
            (
                json!({ name: "s" }),
                json!({ file: "/v/half", keys::SECRET_KEY: "k" }),
                &flag,
                Half::Secret { name: "s", key: "k" },
            ),
            (
                none.clone(),
                json!({ class: "p" }),
                &flag,
                Half::Provider { class: "p", file: "half" },
            ),
            (json!({ keys::SECRET_KEY: "k" }), none.clone(), &flag, Half::File("/flag")),
            (
                json!({ keys::SECRET_KEY: "k" }),
                none.clone(),
                &provider,
                Half::Provider { class: "flag", file: "k" },
            ),
        ] {
            let found = set(&pod, &namespace, policy).unwrap();
            assert!(found.contains(&format!("{expected:?}")), "{pod} {namespace}: {found}");
        }
        for two in [
            json!({ file: "/v/half", class: "p" }),
            json!({ file: "/v/half", name: "s" }),
            json!({ class: "p", name: "s" }),
        ] {
            let error = set(&two, &none, &flag).unwrap_err();
            assert!(error.starts_with("the pod's annotations "), "{error}");
            assert!(two.as_object().unwrap().keys().all(|key| error.contains(key)), "{error}");
            let error = set(&none, &two, &flag).unwrap_err();
            assert!(error.starts_with("the namespace's annotations "), "{error}");
            // A nearer place that decides makes it nobody's business.
            assert!(set(&json!({ name: "s" }), &two, &flag).is_ok());
        }
    }

    #[test]
    fn an_error_says_where_the_value_stands() {
        let (bad, good, none) =
            (json!({ keys::PORT: "http" }), json!({ keys::PORT: "80" }), json!({}));
        let policy = Policy::default();
        for (pod, namespace, expected) in [
            (
                &bad,
                &good,
                Some(
                    "the pod's annotation secret-handshake/port is \"http\": expected a port from 1 to 65535",
                ),
            ),
            (
                &none,
                &bad,
                Some(
                    "the namespace's annotation secret-handshake/port is \"http\": expected a port from 1 to 65535",
                ),
            ),
            (&good, &bad, None),
        ] {
            let error = set(pod, namespace, &policy).err();
            assert_eq!(error.as_deref(), expected);
        }
    }

    #[test]
    fn values_that_can_be_used_and_values_that_cannot() {
        let long_name = "a".repeat(253);
        let too_long_name = "a".repeat(254);
        let long_path = "/a".repeat(513);
        let cases: [(&str, &[&str], &[&str]); 10] = [
            (
                keys::PORT,
                &["1", "3001", "65535"],
                &["0", "65536", "-1", "+1", "", " 80", "80 ", "http", "3e3", "١"],
            ),
            (keys::HEALTH_PORT, &["1024", "65535"], &["1023", "80", "0", "65536", ""]),
            (
                keys::SECRET_NAME,
                &["a", "0", "a-b.c", &long_name],
                &[
                    "",
                    "A",
                    "a_b",
                    "-a",
                    "a-",
                    ".a",
                    "a.",
                    "a..b",
                    "a/b",
                    "ä",
                    "a b",
                    "../x",
                    &too_long_name,
                ],
            ),
            (
                keys::SECRET_KEY,
                &["half", ".half", "A_b-c.d", "a..b", &long_name],
                &["", ".", "..", "..half", "a/b", "../../etc", "ä", "a b", "a\n", &too_long_name],
            ),
            (
                keys::HALF_FILE,
                &["/half", "/vault/secrets/half", "/a/..data/b_c-d.e"],
                &[
                    "",
                    "/",
                    "half",
                    "./half",
                    "/a/",
                    "//a",
                    "/a//b",
                    "/../etc",
                    "/a/..",
                    "/a/./b",
                    "/a b",
                    "/$(HOME)/half",
                    "/ä",
                    "/a\n",
                    &long_path,
                ],
            ),
            (keys::SECRET_PROVIDER_CLASS, &["a", "vault.half-1"], &["", "A", "a_b", "a/b"]),
            (keys::MODE, &["auto", "native", "classic"], &["", "Native", "sidecar", "auto "]),
            (
                keys::LOG_LEVEL,
                &["error", "warn", "info", "debug"],
                &["", "INFO", "trace", "warning"],
            ),
            (
                keys::CPU,
                &["1m", "50m", "1", "0.1"],
                &["", "0", "-1", "17", "50 m", "fast\n\u{1b}[31m"],
            ),
            (keys::MEMORY, &["6Mi", "12Mi", "1Gi"], &["", "0", "12m", "17Gi", "12MB"]),
        ];
        for (key, good, bad) in cases {
            for value in good {
                assert_eq!(verdict(key, value), Ok(()), "{key}: {value:?}");
            }
            for value in bad {
                let error = verdict(key, value).unwrap_err();
                assert!(error.contains(key) && error.contains("expected"), "{error}");
                assert!(error.chars().count() < 200, "{error}");
                assert!(!error.contains(char::is_control), "{error}");
            }
        }
    }

    #[test]
    fn legacy_and_the_sidecar_cannot_share_a_port() {
        assert!(verdict(keys::PORT, "13300").unwrap_err().contains("13300"));
        assert!(verdict(keys::HEALTH_PORT, "3000").unwrap_err().contains("3000"));

        // It says where each of them stands.
        let (pod, namespace, none) =
            (json!({ keys::PORT: "80" }), json!({ keys::HEALTH_PORT: "8080" }), json!({}));
        let port = |port, health_port| Policy { port, health_port, ..Policy::default() };
        for (pod, namespace, policy, expected) in [
            (
                &json!({ keys::PORT: "8080" }),
                &namespace,
                port(1, 1024),
                "the pod's annotation secret-handshake/port and the namespace's annotation secret-handshake/health-port are both 8080: ",
            ),
            (
                &none,
                &namespace,
                port(8080, 1024),
                "the flag --sidecar-port and the namespace's annotation secret-handshake/health-port are both 8080: ",
            ),
            (
                &json!({ keys::PORT: "1024" }),
                &none,
                port(1, 1024),
                "the pod's annotation secret-handshake/port and the flag --sidecar-health-port are both 1024: ",
            ),
        ] {
            let error = set(pod, namespace, &policy).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
        assert!(set(&pod, &namespace, &port(1, 1024)).is_ok());
    }
}
