use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;

/// The AdmissionReview that goes back.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Review<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: Response<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status<'a>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    warnings: &'a [String],
}

/// Why an object is refused. The code and the reason are what kubectl and controllers know an
/// admission webhook's refusal by.
#[derive(Serialize)]
struct Status<'a> {
    code: u16,
    reason: &'static str,
    message: &'a str,
}

/// What the response says beside the uid and the warnings.
pub(super) enum Ruling {
    /// Let through as it is.
    Allow,
    /// Let through with this JSON Patch.
    Patch(Vec<u8>),
    /// Refused, with this message.
    Deny(String),
}

/// Writes the AdmissionReview with the response to the request `uid`.
pub(super) fn write(uid: &str, ruling: &Ruling, warnings: &[String]) -> Vec<u8> {
    let (patch, message) = match ruling {
        Ruling::Allow => (None, None),
        Ruling::Patch(patch) => (Some(STANDARD.encode(patch)), None),
        Ruling::Deny(message) => (None, Some(message)),
    };
    let response = Response {
        uid,
        allowed: message.is_none(),
        status: message.map(|message| Status { code: 403, reason: "Forbidden", message }),
        warnings,
    };
    let review = Review { api_version: super::API_VERSION, kind: super::KIND, response };

    let mut body = Vec::with_capacity(512 + patch.as_ref().map_or(0, String::len));
    #[expect(
        clippy::expect_used,
        reason = "writing to a Vec can't fail, and nothing here is a map with other keys than strings"
    )]
    serde_json::to_writer(&mut body, &review).expect("plain data is JSON");
    if let Some(patch) = patch {
        // Base64 needs no escapes: serde would look for some in each of its bytes.
        body.truncate(body.len() - b"}}".len());
        body.extend_from_slice(br#","patchType":"JSONPatch","patch":""#);
        body.extend_from_slice(patch.as_bytes());
        body.extend_from_slice(br#""}}"#);
    }
    body
}
