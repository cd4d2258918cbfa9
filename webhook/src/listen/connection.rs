//! One connection, from its handshake to its end.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tower::Service as _;

use super::connections::{Connection, Phase, Place};
use super::paced::{Paced, Times};
use crate::metrics::Cut;

/// Headers of a request: an API server sends about ten.
const MAX_HEADERS: usize = 64;
/// Size of a request's head, and of hyper's buffer for reading bodies, in bytes: an API server's head
/// has some 400, with a bearer token of its own one or two thousand more.
const MAX_HEAD: usize = 32 << 10;

/// Does the handshake and serves requests until the peer, a limit or the shutdown ends it.
pub(super) async fn run<S>(
    handshake: impl Future<Output = io::Result<S>>,
    place: &Place,
    router: Router,
    times: Times,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = &place.connection;
    let stream = tokio::select! {
        shaken = tokio::time::timeout(times.handshake, handshake) => match shaken {
            Ok(Ok(stream)) => stream,
            Ok(Err(_)) => return,
            Err(_) => return connection.cut(Cut::HandshakeTime),
        },
        () = connection.asked_to_leave() => return,
    };
    connection.enter(Phase::Fresh);
    serve(stream, connection, router, times).await;
}

async fn serve<S>(stream: S, connection: &Arc<Connection>, router: Router, times: Times)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stream = Paced::new(stream, Arc::clone(connection), times);
    let service = service_fn(|request: Request<Incoming>| {
        connection.enter(Phase::Busy);
        let answer = router.clone().call(request.map(Body::new));
        async {
            let mut response = answer.await?;
            finish(connection, &mut response);
            Ok::<_, Infallible>(response)
        }
    });
    let mut http = std::pin::pin!(
        http1::Builder::new()
            .max_headers(MAX_HEADERS)
            .max_buf_size(MAX_HEAD)
            .serve_connection(TokioIo::new(stream), service)
    );
    let ended = tokio::select! {
        ended = &mut http => ended,
        // Being polled again is all it takes: the stream then says that the peer has finished.
        () = connection.asked_to_leave() => http.await,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection broke off");
    }
}

fn finish(connection: &Connection, response: &mut Response<Body>) {
    if connection.answers_for_the_last_time() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if response.status().is_client_error() || response.status().is_server_error() {
        connection.linger();
    }
    connection.enter(Phase::Answered);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::routing::post;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
    use tokio::time::Instant;

    use super::*;
    use crate::listen::connections::Connections;
    use crate::metrics::{Metrics, Port};

    const TIMES: Times = Times {
        handshake: Duration::from_secs(3),
        first_byte: Duration::from_secs(5),
        head: Duration::from_secs(7),
        idle: Duration::from_secs(100),
        write: Duration::from_secs(11),
    };
    const REQUEST: &[u8] = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n";

    /// A served connection's other end. The buffer between the two holds `buffer` bytes, and the
    /// answer to each request is `answer`.
    fn served(buffer: usize, answer: String) -> (DuplexStream, Arc<Connections>) {
        let (ours, theirs) = tokio::io::duplex(buffer);
        let connections = Connections::new(9, Metrics::new().port(Port::Webhook));
        let router = Router::new().route("/", post(async move || answer));
        let all = Arc::clone(&connections);
        tokio::spawn(async move {
            let place = all.place().await;
            run(async { Ok(theirs) }, &place, router, TIMES).await;
        });
        (ours, connections)
    }

    async fn one_answer(client: &mut DuplexStream) -> String {
        let mut bytes = vec![0; 1024];
        let read = client.read(&mut bytes).await.unwrap();
        String::from_utf8(bytes[..read].to_vec()).unwrap()
    }

    async fn time_until_closed(client: &mut DuplexStream) -> Duration {
        let start = Instant::now();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty(), "{rest:?}");
        start.elapsed()
    }

    /// Timers fire on the millisecond after.
    fn assert_about(measured: Duration, limit: Duration) {
        assert!(
            measured >= limit && measured < limit + Duration::from_millis(10),
            "{measured:?} is not {limit:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_handshake_that_never_ends_is_cut() {
        let connections = Connections::new(9, Metrics::new().port(Port::Webhook));
        let place = connections.place().await;
        let start = Instant::now();
        run(std::future::pending::<io::Result<DuplexStream>>(), &place, Router::new(), TIMES).await;
        assert_about(start.elapsed(), TIMES.handshake);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_byte_has_a_limit() {
        let (mut client, _all) = served(1024, String::new());
        assert_about(time_until_closed(&mut client).await, TIMES.first_byte);
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_drips_has_a_limit_however_steadily_it_drips() {
        let (mut client, _all) = served(1024, String::new());
        let start = Instant::now();
        client.write_all(b"POST / HTTP/1.1\r\nX: ").await.unwrap();
        while client.write_all(b"x").await.is_ok() {
            assert!(start.elapsed() < 2 * TIMES.head, "still open");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(start.elapsed() >= TIMES.head);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_outlives_gos_client() {
        let (mut client, _all) = served(1024, String::new());
        for _ in 0..3 {
            client.write_all(REQUEST).await.unwrap();
            assert!(one_answer(&mut client).await.starts_with("HTTP/1.1 200"));
            tokio::time::sleep(Duration::from_secs(91)).await;
        }
        client.write_all(REQUEST).await.unwrap();
        assert!(one_answer(&mut client).await.starts_with("HTTP/1.1 200"));
        assert_about(time_until_closed(&mut client).await, TIMES.idle);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_take_its_answer_is_cut() {
        let (mut client, all) = served(64, "x".repeat(4096));
        client.write_all(REQUEST).await.unwrap();
        client.read_u8().await.unwrap();
        let start = Instant::now();
        all.let_all_go().await;
        assert_about(start.elapsed(), TIMES.write);
    }

    #[tokio::test(start_paused = true)]
    async fn while_draining_an_answer_is_the_last_one() {
        let (mut client, all) = served(1024, String::new());
        client.write_all(REQUEST).await.unwrap();
        assert!(!one_answer(&mut client).await.contains("connection: close"));
        all.drain();
        client.write_all(REQUEST).await.unwrap();
        assert!(one_answer(&mut client).await.contains("connection: close"));
        assert!(time_until_closed(&mut client).await < Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_has_arrived_is_answered_though_the_connection_was_asked_to_leave() {
        let (mut client, all) = served(1024, String::new());
        client.write_all(REQUEST).await.unwrap();
        one_answer(&mut client).await;
        // Written, and not yet looked at, when the connection is asked to leave.
        client.write_all(REQUEST).await.unwrap();
        all.let_all_go().await;
        assert!(one_answer(&mut client).await.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_client_can_read_the_refusal_while_it_is_still_sending() {
        let (mut client, _all) = served(256, String::new());
        client
            .write_all(b"POST /nowhere HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n")
            .await
            .unwrap();
        // More than fits in between: it would hang, or break, if nobody read it.
        for _ in 0..100 {
            client.write_all(&[b'x'; 100]).await.unwrap();
        }
        assert!(one_answer(&mut client).await.starts_with("HTTP/1.1 404"));
    }
}
