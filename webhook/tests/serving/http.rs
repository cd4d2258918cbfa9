//! The router, without a socket: what is refused, how, and what a panic costs.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;
use webhook::routes::router;

use crate::running::{echo, metrics};

async fn ask(router: &Router, request: Request<Body>) -> (StatusCode, HeaderMap, String) {
    let (head, body) = router.clone().oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status, head.headers, String::from_utf8(body.to_vec()).unwrap())
}

fn post(body: impl Into<Body>) -> Request<Body> {
    Request::post("/mutate/pods")
        .header("Content-Type", "application/json")
        .body(body.into())
        .unwrap()
}

#[tokio::test]
async fn what_is_refused_and_how() {
    let router = router(echo(), None, metrics());
    let json = Some("application/json");
    for (method, path, content_type, expected) in [
        (Method::POST, "/mutate/pods", json, 200),
        (Method::POST, "/mutate/workloads", json, 200),
        (Method::POST, "/mutate/pods?timeout=5s", json, 200),
        (Method::POST, "/mutate/pods", Some("application/json; charset=utf-8"), 200),
        (Method::POST, "/mutate/pods", Some("Application/JSON"), 200),
        (Method::GET, "/mutate/pods", None, 405),
        (Method::PUT, "/mutate/workloads", json, 405),
        (Method::DELETE, "/mutate/pods", json, 405),
        (Method::POST, "/", json, 404),
        (Method::GET, "/metrics", None, 404),
        (Method::POST, "/mutate/pods/", json, 404),
        (Method::POST, "/mutate", json, 404),
        (Method::POST, "/mutate/pods", None, 415),
        (Method::POST, "/mutate/pods", Some("text/plain"), 415),
        (Method::POST, "/mutate/pods", Some("application/jsonp"), 415),
        (Method::POST, "/mutate/pods", Some("application/yaml"), 415),
    ] {
        let mut request = Request::builder().method(method.clone()).uri(path);
        if let Some(content_type) = content_type {
            request = request.header("Content-Type", content_type);
        }
        let (status, headers, body) = ask(&router, request.body("{}".into()).unwrap()).await;
        assert_eq!(status, expected, "{method} {path} {content_type:?}");
        if status == 200 {
            assert_eq!(
                (&headers["content-type"], &*body),
                (&"application/json".parse().unwrap(), "2")
            );
        } else {
            assert!(
                body.len() < 100 && body.ends_with('\n') && body.lines().count() == 1,
                "{body}"
            );
            assert_eq!(headers["content-type"], "text/plain; charset=utf-8");
        }
        assert_eq!(headers.get("allow").is_some_and(|allow| allow == "POST"), status == 405);
    }
}

#[tokio::test]
async fn a_compressed_body_is_refused() {
    let router = router(echo(), None, metrics());
    for (encoding, expected) in [("gzip", 415), ("identity", 200)] {
        let mut request = post("{}");
        request.headers_mut().insert("Content-Encoding", encoding.parse().unwrap());
        assert_eq!(ask(&router, request).await.0, expected, "{encoding}");
    }
}

#[tokio::test]
async fn an_unreadable_body_is_a_400_with_a_reason_that_quotes_nothing() {
    let policy = injection::Policy::default();
    let answer = move |endpoint, body: &[u8], namespace: Option<&injection::Metadata>| {
        webhook::review::answer(endpoint, body, namespace, &policy)
    };
    let metrics = metrics();
    let router = router(Arc::new(answer), None, metrics.clone());
    let deep = "[".repeat(100_000);
    for body in ["", "tell-nobody", "{\"tell-nobody\":", "[]", "\u{0}", &deep] {
        let (status, _, reason) = ask(&router, post(body.to_owned())).await;
        assert_eq!(status, 400, "{body:.20}");
        assert!(reason.len() < 120 && !reason.contains("tell-nobody"), "{reason}");
    }
    assert!(metrics.render().contains("http_refusals_total{status=\"400\"} 6"));
}

#[tokio::test]
async fn a_panic_costs_the_request_that_caused_it() {
    let metrics = metrics();
    let router = router(echo(), None, metrics.clone());
    let (status, _, body) = ask(&router, post("panic")).await;
    assert_eq!(status, 500);
    assert_eq!(body, "internal error: the webhook's log says where\n");
    assert_eq!(ask(&router, post("{}")).await.0, 200);
    let page = metrics.render();
    assert!(page.contains("panics_total 1\n"), "{page}");
    assert!(page.contains(
        "admissions_total{endpoint=\"pods\",outcome=\"skipped\",reason=\"not-asked\"} 1\n"
    ));
}
