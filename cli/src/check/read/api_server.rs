//! The API server's version, its clock, and what it lets this user do.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream;
use http::Request;
use http::header::DATE;
use http_body_util::{BodyExt as _, Limited};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use k8s_openapi::apimachinery::pkg::version::Info;
use kube::client::Body;

use super::super::api_server::{ApiServer, Clocks, Version};
use super::{AT_ONCE, Scope, rights};
use crate::cluster::{Cluster, Unreadable};

/// For the first answer: whoever waits longer has no cluster.
const LIMIT: Duration = Duration::from_secs(15);
/// A version is some hundred bytes.
const MAX_ANSWER: usize = 64 * 1024;

pub(super) async fn read(cluster: &Cluster, scope: &Scope) -> ApiServer {
    let answer = tokio::time::timeout(LIMIT, ask(cluster)).await;
    let (version, clocks) = match answer {
        Ok((version, clocks)) => (version, clocks),
        Err(_) => (Err(failed("no answer within 15 s")), Err(failed("no answer"))),
    };
    let missing = match &version {
        Err(Unreadable::Failed(reason)) => Err(failed(reason)),
        _ => missing(cluster, scope).await,
    };
    ApiServer { version, missing, clocks }
}

/// Asks for the version, and takes the time from the answer's head.
async fn ask(cluster: &Cluster) -> (Result<Version, Unreadable>, Result<Clocks, Unreadable>) {
    let request = match Request::get("/version").body(Body::empty()) {
        Ok(request) => request,
        Err(error) => return (Err(failed(&error.to_string())), Err(failed("nothing was asked"))),
    };
    let asked = Instant::now();
    let response = match cluster.client.send(request).await {
        Ok(response) => response,
        Err(error) => {
            let error = format!("{:#}", anyhow::Error::from(error));
            return (Err(failed(&error)), Err(failed("no answer")));
        }
    };
    let (here, took) = (Timestamp::now(), asked.elapsed());
    let date = response.headers().get(DATE).and_then(|date| date.to_str().ok());
    let date = date.and_then(|date| DateTimeParser::new().parse_timestamp(date).ok());
    let clocks = date.map(|server| Clocks { server, here, took });
    let clocks = clocks.ok_or_else(|| failed("the API server's answer has no Date"));
    let status = response.status();
    if !status.is_success() {
        let version = if matches!(status.as_u16(), 401 | 403) {
            Err(Unreadable::Forbidden("get /version".to_owned()))
        } else {
            Err(failed(&format!("the answer was status {status}")))
        };
        return (version, clocks);
    }
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
    let version = body
        .ok()
        .and_then(|body| serde_json::from_slice::<Info>(&body.to_bytes()).ok())
        .and_then(|info| version(&info));
    (version.ok_or_else(|| failed("what answers is not an API server")), clocks)
}

/// Minor versions of some providers end in a plus sign.
fn version(info: &Info) -> Option<Version> {
    let number =
        |text: &str| text.trim_end_matches(|char: char| !char.is_ascii_digit()).parse().ok();
    let number = (number(&info.major)?, number(&info.minor)?);
    Some(Version { number, text: injection::printable(&info.git_version, 60) })
}

async fn missing(cluster: &Cluster, scope: &Scope) -> Result<Vec<String>, Unreadable> {
    let rights = rights::needed(scope);
    let ask = |right: rights::Right| async move {
        let allowed = right.is_allowed(cluster).await?;
        Ok((!allowed).then(|| right.to_string()))
    };
    let answers: Vec<Result<Option<String>, Unreadable>> =
        stream::iter(rights).map(ask).buffered(AT_ONCE).collect().await;
    answers.into_iter().filter_map(Result::transpose).collect()
}

fn failed(reason: &str) -> Unreadable {
    Unreadable::Failed(reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_providers_write_them() {
        for (major, minor, expected) in
            [("1", "37", Some((1, 37))), ("1", "32+", Some((1, 32))), ("", "", None)]
        {
            let info = Info { major: major.into(), minor: minor.into(), ..Info::default() };
            assert_eq!(version(&info).map(|version| version.number), expected);
        }
    }
}
