use super::reason::Reason;
use crate::keys;
use crate::pod::{Metadata, Pod};
use crate::printable::printable;
use crate::quantity::Quantity;
use crate::sidecar::Mode;

/// What a pod's annotations say, or leave at its default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settings<'a> {
    pub(super) legacy_port: u16,
    pub(super) health_port: u16,
    pub(super) secret_name: &'a str,
    pub(super) secret_key: &'a str,
    /// `None` is `auto`.
    pub(super) mode: Option<Mode>,
    pub(super) log_level: &'a str,
    pub(super) cpu: Option<Quantity>,
    pub(super) memory: Option<Quantity>,
}

/// Reads the settings of a pod; the first annotation with an invalid value is the reason.
pub(super) fn settings(pod: &Pod) -> Result<Settings<'_>, Reason> {
    let legacy_port = read(pod, keys::PORT, "a port from 1 to 65535", |text| port(text, 1))?;
    // Below 1024 a process without capabilities may not listen on every runtime.
    let health_port =
        read(pod, keys::HEALTH_PORT, "a port from 1024 to 65535", |text| port(text, 1024))?;
    let secret_name = read(
        pod,
        keys::SECRET_NAME,
        "the name of a Secret: lower-case letters, digits, '-' and '.'",
        |text| is_subdomain(text).then_some(text),
    )?;
    let secret_key = read(
        pod,
        keys::SECRET_KEY,
        "the key of a Secret: letters, digits, '-', '_' and '.'",
        |text| is_data_key(text).then_some(text),
    )?;
    let mode = read(pod, keys::MODE, "auto, native or classic", |text| match text {
        "auto" => Some(None),
        "native" => Some(Some(Mode::Native)),
        "classic" => Some(Some(Mode::Classic)),
        _ => None,
    })?;
    let log_level = read(pod, keys::LOG_LEVEL, "error, warn, info or debug", |text| {
        matches!(text, "error" | "warn" | "info" | "debug").then_some(text)
    })?;
    let cpu = read(pod, keys::CPU, Quantity::CPU, |text| Quantity::cpu(text).ok())?;
    let memory = read(pod, keys::MEMORY, Quantity::MEMORY, |text| Quantity::memory(text).ok())?;

    let settings = Settings {
        legacy_port: legacy_port.unwrap_or(3000),
        health_port: health_port.unwrap_or(13300),
        secret_name: secret_name.unwrap_or("secret-handshake"),
        secret_key: secret_key.unwrap_or("half"),
        mode: mode.flatten(),
        log_level: log_level.unwrap_or("info"),
        cpu,
        memory,
    };
    if settings.legacy_port == settings.health_port {
        return Err(Reason::SamePort { port: settings.legacy_port });
    }
    Ok(settings)
}

/// Finds a setting and reads it; `None` if nobody set it.
fn read<'a, T>(
    pod: &'a Pod,
    name: &'static str,
    allowed: &'static str,
    parse: impl FnOnce(&'a str) -> Option<T>,
) -> Result<Option<T>, Reason> {
    let Some(value) = pod.annotation(name) else {
        return Ok(None);
    };
    parse(value).map(Some).ok_or_else(|| {
        // kubectl may cut a warning after 256 characters.
        let value = value.chars().take(48).collect();
        Reason::InvalidAnnotation { name, value, allowed }
    })
}

fn port(text: &str, least: u16) -> Option<u16> {
    // Rust's own parser would take a plus sign as well.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port >= least)
}

/// A DNS-1123 subdomain (RFC 1123, as apimachinery's `IsDNS1123Subdomain` reads it): what the name
/// of a Secret must be.
fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_subdomain_part)
}

fn is_subdomain_part(part: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = part.as_bytes();
    bytes.first().copied().is_some_and(alphanumeric)
        && bytes.last().copied().is_some_and(alphanumeric)
        && bytes.iter().all(|byte| alphanumeric(*byte) || *byte == b'-')
}

/// What the key of a Secret must be (apimachinery's `IsConfigMapKey`).
fn is_data_key(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text != "."
        && !text.starts_with("..")
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

/// One warning for all annotations that look like ours and are not, if there are any.
pub(crate) fn unknown_annotations(metadata: Option<&Metadata>) -> Option<String> {
    let known = |key: &str| {
        keys::SETTINGS.contains(&key) || matches!(key, keys::STATUS | keys::LABEL_COPIED)
    };
    let looks_like_ours = |key: &str| key == keys::LABEL || key.starts_with(keys::PREFIX);
    let mut unknown = metadata?.annotation_keys().filter(|key| looks_like_ours(key) && !known(key));
    let first = unknown.next()?;
    if first == keys::LABEL {
        return Some(format!(
            "{first} is an annotation here and has no effect: it must be a label"
        ));
    }
    let more = unknown.count();
    let more = if more == 0 { String::new() } else { format!(" (and {more} more)") };
    let settings = keys::SETTINGS.map(|key| &key[keys::PREFIX.len()..]).join(", ");
    let first = printable(first, 64);
    Some(format!("unknown annotation {first}{more}; known settings: {settings}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod_json(annotations: &serde_json::Value) -> String {
        json!({"metadata": {"annotations": annotations}}).to_string()
    }

    fn verdict(key: &str, value: &str) -> Result<(), String> {
        let json = pod_json(&json!({key: value}));
        let pod = serde_json::from_str(&json).unwrap();
        settings(&pod).map(|_| ()).map_err(|reason| reason.to_string())
    }

    #[test]
    fn without_annotations_everything_has_its_default() {
        let pod = Pod::default();
        let settings = settings(&pod).unwrap();
        assert_eq!(
            settings,
            Settings {
                legacy_port: 3000,
                health_port: 13300,
                secret_name: "secret-handshake",
                secret_key: "half",
                mode: None,
                log_level: "info",
                cpu: None,
                memory: None,
            }
        );
    }

    #[test]
    fn each_annotation_is_read() {
        let json = pod_json(&json!({
            keys::PORT: "8080", keys::HEALTH_PORT: "1024", keys::SECRET_NAME: "a.b-c", keys::SECRET_KEY: "K_1.txt",
            keys::MODE: "native", keys::LOG_LEVEL: "debug", keys::CPU: "100m", keys::MEMORY: "32Mi",
        }));
        let pod = serde_json::from_str(&json).unwrap();
        assert_eq!(
            settings(&pod).unwrap(),
            Settings {
                legacy_port: 8080,
                health_port: 1024,
                secret_name: "a.b-c",
                secret_key: "K_1.txt",
                mode: Some(Mode::Native),
                log_level: "debug",
                cpu: Some(Quantity::unchecked("100m")),
                memory: Some(Quantity::unchecked("32Mi")),
            }
        );
    }

    #[test]
    fn values_that_can_be_used_and_values_that_cannot() {
        let long_name = "a".repeat(253);
        let too_long_name = "a".repeat(254);
        let cases: [(&str, &[&str], &[&str]); 8] = [
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
    }

    #[test]
    fn an_unknown_annotation_draws_a_warning_that_lists_the_known_ones() {
        let warning = |annotations: serde_json::Value| {
            let json = pod_json(&annotations);
            let pod: Pod = serde_json::from_str(&json).unwrap();
            unknown_annotations(pod.metadata.as_ref())
        };
        let one = warning(json!({"secret-handshake/prot": "80", keys::PORT: "80"})).unwrap();
        assert!(
            one.contains("unknown annotation secret-handshake/prot;")
                && one.contains("port, health-port"),
            "{one}"
        );
        let three = warning(
            json!({"secret-handshake/a": "", "secret-handshake/b": "", "secret-handshake/": ""}),
        )
        .unwrap();
        assert!(three.contains("(and 2 more)"), "{three}");
        let label = warning(json!({"secret-handshake": "false"})).unwrap();
        assert!(label.contains("must be a label"), "{label}");
        assert_eq!(
            warning(
                json!({keys::STATUS: "injected", keys::LABEL_COPIED: "true", keys::DONE: "1", "other/x": ""})
            ),
            None
        );
    }
}
