//! One connection from its start to its end: requests in, answers or faults out.

use std::error::Error;
use std::future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Channel, Either, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderValue, LOCATION, USER_AGENT};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::answer::{Answer, answer};
use crate::faults::What;
use crate::record::timestamp;
use crate::run::Run;

/// More than any secret; a longer body is one that can't be read.
const LARGEST_BODY: usize = 1024 * 1024;

type Body = Either<Full<Bytes>, Channel<Bytes>>;

/// What a connection is doing, for those who want to end it.
#[derive(Clone, Copy, Debug, Default)]
struct Activity {
    requests: u64,
    answering: bool,
}

/// Serves one connection until the client ends it, a fault does, or Legacy stops.
pub(crate) async fn serve(
    stream: TcpStream,
    remote: SocketAddr,
    run: Arc<Run>,
    stopping: watch::Receiver<bool>,
) {
    // An IPv4 client of a socket for both families is shown as what it is.
    let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
    let activity = watch::Sender::new(Activity::default());
    let close_idle_after = run.faults().close_idle_after;
    let service = service_fn(|request| {
        let (run, activity) = (Arc::clone(&run), &activity);
        async move {
            activity.send_modify(|now| {
                now.requests += 1;
                now.answering = true;
            });
            let response = respond(&run, request, remote).await;
            activity.send_modify(|now| now.answering = false);
            response
        }
    });
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let enough = async {
        tokio::select! {
            () = idle_for(close_idle_after, activity.subscribe()) => {}
            () = told_to_stop(stopping, activity.subscribe()) => {}
        }
    };
    let done = tokio::select! {
        done = &mut connection => Some(done),
        () = enough => None,
    };
    let done = if let Some(done) = done {
        done
    } else {
        Pin::new(&mut connection).graceful_shutdown();
        (&mut connection).await
    };
    if done.is_err_and(|error| error.source().is_some_and(<dyn Error>::is::<ResetNow>)) {
        reset(connection.into_parts().io.into_inner());
    }
    if activity.borrow().requests == 0 {
        run.record().count(|counts| counts.bare += 1);
    }
}

/// Reads whatever comes and answers nothing, until the client closes the connection.
pub(crate) async fn stay_silent(mut stream: TcpStream) {
    let mut buffer = [0; 1024];
    while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
}

/// Ends a connection with a TCP reset, not in the orderly way.
pub(crate) fn reset(stream: TcpStream) {
    // Where the client was faster and the connection is gone, there is nothing left to reset.
    let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    drop(stream);
}

/// Resolves when no request has been answered for `limit`.
async fn idle_for(limit: Option<Duration>, mut activity: watch::Receiver<Activity>) {
    let Some(limit) = limit else {
        return future::pending().await;
    };
    loop {
        let answering = activity.borrow_and_update().answering;
        tokio::select! {
            () = tokio::time::sleep(limit), if !answering => return,
            changed = activity.changed() => if changed.is_err() { future::pending().await },
        }
    }
}

/// Resolves when Legacy stops and the connection may be told so. As in Go's `http.Server`, one
/// that has not carried a request yet is waited for (Go does so for 5 s).
async fn told_to_stop(
    mut stopping: watch::Receiver<bool>,
    mut activity: watch::Receiver<Activity>,
) {
    let stopped = stopping.wait_for(|stopping| *stopping).await.is_ok();
    let asked = activity.wait_for(|activity| activity.requests > 0).await.is_ok();
    if !(stopped && asked) {
        // The senders are gone, and so is the connection.
        future::pending::<()>().await;
    }
}

/// The fault that ends a connection with a reset.
#[derive(Debug, thiserror::Error)]
#[error("the connection is reset on purpose")]
struct ResetNow;

async fn respond(
    run: &Run,
    request: Request<Incoming>,
    remote: SocketAddr,
) -> Result<Response<Body>, ResetNow> {
    let began = Instant::now();
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    run.record().count(|counts| {
        *counts.requests.entry(format!("{} {path}", head.method)).or_default() += 1;
    });
    let fault = run.answer_fault(path);
    let answer = match &fault {
        Some(What::Status(code)) => {
            let status = StatusCode::from_u16(*code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            Answer::line(status, status.canonical_reason().unwrap_or("fault"))
        }
        Some(What::Redirect(_)) => Answer::line(StatusCode::FOUND, "Found"),
        _ => {
            let body = match Limited::new(body, LARGEST_BODY).collect().await {
                Ok(body) => body.to_bytes(),
                Err(_) => Bytes::from_static(b"?"),
            };
            run.settle(|config, faults, initialized| {
                answer(config, faults, initialized, &head.method, path, &body)
            })
        }
    };
    if path != "/health" {
        let header = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
        run.record().log(access_line(
            header(HOST).unwrap_or("-"),
            remote,
            &format!("{} {path} {:?}", head.method, head.version),
            &answer,
            header(USER_AGENT).unwrap_or(""),
            began.elapsed(),
        ));
    }
    match fault {
        Some(What::Silent) => future::pending().await,
        Some(What::Reset) => Err(ResetNow),
        fault => Ok(response(answer, fault)),
    }
}

fn response(answer: Answer, fault: Option<What>) -> Response<Body> {
    let Answer { status, body } = answer;
    let length = body.len();
    let body = Bytes::from(body);
    let mut location = None;
    let (body, length) = match fault {
        Some(What::SlowBody(pause)) => (Either::Right(slow(body, pause)), Some(length)),
        Some(What::EndlessBody) => (Either::Right(endless()), None),
        Some(What::CutBody) => (Either::Right(cut(body.slice(..length / 2))), Some(length)),
        Some(What::Redirect(to)) => {
            location = HeaderValue::from_str(&to).ok();
            (Either::Left(Full::new(body)), Some(length))
        }
        _ => (Either::Left(Full::new(body)), Some(length)),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert("x-app-name", HeaderValue::from_static(env!("CARGO_PKG_NAME")));
    headers.insert("x-app-version", HeaderValue::from_static(env!("CARGO_PKG_VERSION")));
    if let Some(length) = length.filter(|_| status != StatusCode::NO_CONTENT) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
    }
    if let Some(location) = location {
        headers.insert(LOCATION, location);
    }
    response
}

fn slow(body: Bytes, pause: Duration) -> Channel<Bytes> {
    let (mut sender, channel) = Channel::new(1);
    tokio::spawn(async move {
        for at in 0..body.len() {
            tokio::time::sleep(pause).await;
            if sender.send_data(body.slice(at..=at)).await.is_err() {
                return;
            }
        }
    });
    channel
}

/// Ends before its announced length, which ends the connection as well.
fn cut(body: Bytes) -> Channel<Bytes> {
    let (mut sender, channel) = Channel::new(1);
    tokio::spawn(async move {
        let sent = sender.send_data(body).await;
        // Time for what was sent to leave: hyper drops it when the body ends too early.
        tokio::time::sleep(Duration::from_millis(10)).await;
        drop((sent, sender));
    });
    channel
}

fn endless() -> Channel<Bytes> {
    let (mut sender, channel) = Channel::new(1);
    tokio::spawn(async move {
        let chunk = Bytes::from_static(&[b'A'; 1024]);
        while sender.send_data(chunk.clone()).await.is_ok() {}
    });
    channel
}

/// Time, host, remote, request, status, bytes, agent, duration: Legacy's access line.
fn access_line(
    host: &str,
    remote: SocketAddr,
    request: &str,
    answer: &Answer,
    agent: &str,
    took: Duration,
) -> String {
    let now = timestamp();
    let (status, bytes) = (answer.status.as_u16(), answer.body.len());
    format!(r#"{now} {host} {remote} "{request}" {status} {bytes} "{agent}" {took:?}"#)
}
