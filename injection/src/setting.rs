//! How the value of each setting is written, on an annotation and on a flag alike. The error says what
//! is expected.

use crate::sidecar::Mode;

/// A container's image, as far as the API server looks at it; the rest is the container runtime's to
/// judge.
pub(crate) fn image(text: &str) -> Result<&str, &'static str> {
    let fits = !text.is_empty() && !text.contains(char::is_whitespace);
    fits.then_some(text).ok_or("an image, without spaces")
}

/// Legacy's port.
pub(crate) fn port(text: &str) -> Result<u16, &'static str> {
    port_from(1, text).ok_or("a port from 1 to 65535")
}

/// The sidecar's own port. Below 1024 a process without capabilities may not listen on every runtime.
pub(crate) fn health_port(text: &str) -> Result<u16, &'static str> {
    port_from(1024, text).ok_or("a port from 1024 to 65535")
}

fn port_from(least: u16, text: &str) -> Option<u16> {
    // Rust's own parser would take a plus sign as well.
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port >= least)
}

/// The name of a Secret or of a `SecretProviderClass`: a DNS-1123 subdomain (RFC 1123, as
/// apimachinery's `IsDNS1123Subdomain` reads it).
pub(crate) fn object_name(text: &str) -> Result<&str, &'static str> {
    let fits = text.len() <= 253 && text.split('.').all(is_subdomain_part);
    fits.then_some(text).ok_or("a name: lower-case letters, digits, '-' and '.'")
}

fn is_subdomain_part(part: &str) -> bool {
    let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = part.as_bytes();
    bytes.first().copied().is_some_and(alphanumeric)
        && bytes.last().copied().is_some_and(alphanumeric)
        && bytes.iter().all(|byte| alphanumeric(*byte) || *byte == b'-')
}

/// The key of a Secret (apimachinery's `IsConfigMapKey`).
pub(crate) fn secret_key(text: &str) -> Result<&str, &'static str> {
    let fits = (1..=253).contains(&text.len())
        && text != "."
        && !text.starts_with("..")
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    fits.then_some(text).ok_or("the key of a Secret: letters, digits, '-', '_' and '.'")
}

/// A file in the sidecar's container. The kubelet would take a `$(NAME)` in it for a variable.
pub(crate) fn half_file(text: &str) -> Result<&str, &'static str> {
    let is_part = |part: &str| {
        !matches!(part, "" | "." | "..")
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
    };
    let parts = text.strip_prefix('/').filter(|_| text.len() <= 1024);
    let fits = parts.is_some_and(|parts| parts.split('/').all(is_part));
    fits.then_some(text).ok_or("the whole path of a file: letters, digits, '-', '_', '.' and '/'")
}

/// `None` is `auto`.
pub(crate) fn mode(text: &str) -> Result<Option<Mode>, &'static str> {
    match text {
        "auto" => Ok(None),
        "native" => Ok(Some(Mode::Native)),
        "classic" => Ok(Some(Mode::Classic)),
        _ => Err("auto, native or classic"),
    }
}

/// How much the sidecar logs.
pub(crate) fn log_level(text: &str) -> Result<&str, &'static str> {
    let known = matches!(text, "error" | "warn" | "info" | "debug");
    known.then_some(text).ok_or("error, warn, info or debug")
}
