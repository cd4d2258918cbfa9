//! What Legacy answers: pure, from its state and the request.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use hyper::{Method, StatusCode};

use crate::config::Config;
use crate::faults::{Faults, KeyFault};

/// The status, and the body with its newline.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn line(status: StatusCode, text: &str) -> Self {
        Self { status, body: format!("{text}\n").into_bytes() }
    }
}

/// Answers a request to an uninitialised or initialised Legacy. A 202 means that it is to be
/// initialised from now on.
pub(crate) fn answer(
    config: &Config,
    faults: &Faults,
    initialized: bool,
    method: &Method,
    path: &str,
    body: &[u8],
) -> Answer {
    let reads = matches!(*method, Method::GET | Method::HEAD);
    match path {
        "/health" => Answer::line(StatusCode::OK, r#"{"status":"ok"}"#),
        "/internal/key" if reads => key(&config.key, faults.key),
        "/internal/secret" if method == Method::POST => {
            if initialized {
                Answer { status: StatusCode::NO_CONTENT, body: Vec::new() }
            } else {
                secret(config, faults, body)
            }
        }
        "/internal/key" | "/internal/secret" => {
            Answer::line(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
        }
        _ if initialized => Answer::line(StatusCode::OK, &config.text),
        _ if faults.old_build => Answer::line(StatusCode::OK, "Uninitialized"),
        _ => Answer::line(StatusCode::SERVICE_UNAVAILABLE, "Uninitialized"),
    }
}

fn key(key: &[u8], fault: KeyFault) -> Answer {
    let text = match fault {
        KeyFault::None => BASE64_STANDARD.encode(key),
        KeyFault::Garbage => "<html>\u{1f511} this is not base64</html>".to_owned(),
        KeyFault::Oversized => "QUFB".repeat(512 * 1024),
        KeyFault::Empty => String::new(),
    };
    Answer::line(StatusCode::OK, &text)
}

fn secret(config: &Config, faults: &Faults, body: &[u8]) -> Answer {
    let Some(secret) = decode(body) else {
        return Answer::line(StatusCode::INTERNAL_SERVER_ERROR, "unable to read secret");
    };
    let right = match &config.half {
        Some(half) => secret.strip_prefix(&*config.key) == Some(half),
        None => secret.len() > config.key.len() && contains(&secret, &config.key),
    };
    if right && !faults.reject_secret {
        Answer::line(StatusCode::ACCEPTED, "Accepted")
    } else {
        Answer::line(StatusCode::BAD_REQUEST, "invalid key")
    }
}

/// Go's decoder, which Legacy uses, skips line ends inside the base64.
fn decode(body: &[u8]) -> Option<Vec<u8>> {
    let one_line: Vec<u8> =
        body.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    BASE64_STANDARD.decode(one_line).ok()
}

fn contains(secret: &[u8], key: &[u8]) -> bool {
    key.is_empty() || secret.windows(key.len()).any(|window| window == key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(initialized: bool, method: &Method, path: &str, body: &[u8]) -> (u16, String) {
        let answer =
            answer(&Config::default(), &Faults::default(), initialized, method, path, body);
        (answer.status.as_u16(), String::from_utf8(answer.body).unwrap())
    }

    #[test]
    fn answers_as_legacy_does_before_and_after_the_handshake() {
        let secret = b"VGhpcyBpcyBAICQzY3IzdCBrZXktYWNrbm93bGVkZ2U=";
        let key = "VGhpcyBpcyBAICQzY3IzdCBrZXk=\n";
        let health = "{\"status\":\"ok\"}\n";
        for (method, path, body, before, after) in [
            (Method::GET, "/health", &b""[..], (200, health), (200, health)),
            (Method::GET, "/", b"", (503, "Uninitialized\n"), (200, "It works!\n")),
            (Method::GET, "/any/other", b"", (503, "Uninitialized\n"), (200, "It works!\n")),
            (Method::POST, "/", b"x", (503, "Uninitialized\n"), (200, "It works!\n")),
            (Method::GET, "/internal/key", b"", (200, key), (200, key)),
            (Method::POST, "/internal/secret", secret, (202, "Accepted\n"), (204, "")),
            (Method::POST, "/internal/secret", b"?", (500, "unable to read secret\n"), (204, "")),
            (Method::POST, "/internal/secret", b"", (400, "invalid key\n"), (204, "")),
        ] {
            assert_eq!(ask(false, &method, path, body), (before.0, before.1.to_owned()), "{path}");
            assert_eq!(ask(true, &method, path, body), (after.0, after.1.to_owned()), "{path}");
        }
    }

    #[test]
    fn takes_any_secret_that_contains_the_key_and_is_longer_unless_told_the_half() {
        let free = Config::default();
        let strict = Config { half: Some(b"-acknowledge".to_vec()), ..Config::default() };
        for (secret, by_free, by_strict) in [
            (&b"This is @ $3cr3t key-acknowledge"[..], 202, 202),
            (b"This is @ $3cr3t key-acknowledge\n", 202, 400),
            (b"x This is @ $3cr3t key", 202, 400),
            (b"This is @ $3cr3t key\xff\x00", 202, 400),
            (b"This is @ $3cr3t key", 400, 400),
            (b"-acknowledge", 400, 400),
        ] {
            let body = BASE64_STANDARD.encode(secret);
            for (config, wanted) in [(&free, by_free), (&strict, by_strict)] {
                let answer = super::secret(config, &Faults::default(), body.as_bytes());
                assert_eq!(answer.status.as_u16(), wanted, "{secret:?}");
            }
        }
    }

    #[test]
    fn a_key_need_not_be_text() {
        let config = Config { key: vec![0xff, 0x00, 0x80], ..Config::default() };
        let answer = answer(&config, &Faults::default(), false, &Method::GET, "/internal/key", b"");
        assert_eq!(answer.body, b"/wCA\n");
    }
}
