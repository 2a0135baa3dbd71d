//! Registries that lie, flood, dawdle and lead astray.

mod support;

use std::time::{Duration, Instant};

use pipehost_registry::{Digest, Error, Limits, Pulled, Reference, What, pull, push};
use support::liar::{Answer, Asked, Body, Liar};
use support::{component, reference};

const GIB: u64 = 1 << 30;
/// What the system may take from a server before we have closed.
const SLACK: u64 = 16 << 20;

/// A manifest of a layer with this digest and size.
fn manifest(digest: Digest, size: u64) -> String {
    format!(
        r#"{{"schemaVersion": 2, "config": {{"mediaType": "application/vnd.wasm.config.v0+json"}},
            "layers": [{{"mediaType": "application/wasm", "digest": "{digest}", "size": {size},
                         "urls": ["http://127.0.0.1:1/elsewhere"]}}]}}"#
    )
}

const WASM: &[u8] = b"\0asm\x01\0\0\0";

fn honest(asked: &Asked) -> Answer {
    match asked.path.contains("/manifests/") {
        true => Answer::ok(manifest(Digest::of(WASM), WASM.len() as u64)),
        false => Answer::ok(WASM),
    }
}

/// A registry that gives out an honest manifest, and this for the component.
fn with_blob(blob: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Liar {
    Liar::start(move |asked| match asked.path.contains("/manifests/") {
        true => honest(asked),
        false => blob(asked),
    })
}

fn quick() -> Limits {
    Limits { time: Duration::from_secs(2), ..Limits::default() }
}

async fn fails(liar: &Liar) -> Error {
    let start = Instant::now();
    let error = pull(&reference(liar.port, "a:b"), quick()).await.expect_err("it lies");
    assert!(start.elapsed() < Duration::from_secs(4));
    assert!(liar.sent() < SLACK, "{} bytes were taken", liar.sent());
    assert!(error.to_string().len() < 1000, "{error}");
    error
}

#[tokio::test]
async fn what_is_honest_is_pulled() {
    let liar = Liar::start(honest);
    let pulled = pull(&reference(liar.port, "a:b"), quick()).await.unwrap();
    assert_eq!(pulled.component, WASM);
    assert_eq!(pulled.digest, Digest::of(manifest(Digest::of(WASM), 8).as_bytes()));
}

#[tokio::test]
async fn another_manifest_is_found_out() {
    // Its header says what we want to hear.
    let wanted = Digest::of(b"what was asked for");
    let liar =
        Liar::start(move |asked| honest(asked).with("Docker-Content-Digest", wanted.to_string()));
    let pinned = reference(liar.port, "a:b").pinned(wanted);
    let error = pull(&pinned, quick()).await.unwrap_err();
    assert!(matches!(error, Error::OtherContent { what: What::Manifest, .. }), "{error}");
    assert_eq!(liar.asked().len(), 1, "the component was not asked for");
}

#[tokio::test]
async fn another_component_is_found_out() {
    let error = fails(&with_blob(|_| Answer::ok("evil...."))).await;
    assert!(matches!(error, Error::OtherContent { what: What::Component, .. }), "{error}");
    let error = fails(&with_blob(|_| Answer::ok("short"))).await;
    assert!(matches!(error, Error::OtherSize { expected: 8, found: 5, .. }), "{error}");
    let error = fails(&with_blob(|_| Answer::new(200, Body::Promised(8, b"cut".into())))).await;
    assert!(matches!(error, Error::Connection { .. }), "{error}");
    // Named gzip, it is still what it is: nothing unpacks.
    let error =
        fails(&with_blob(|_| Answer::ok("evil....").with("Content-Encoding", "gzip"))).await;
    assert!(matches!(error, Error::OtherContent { .. }), "{error}");
    // A part of the answer is no answer.
    let error = fails(&with_blob(|_| Answer::new(206, Body::Whole(WASM.into())))).await;
    assert!(matches!(error, Error::Status { status: 206, .. }), "{error}");
}

#[tokio::test]
async fn a_flood_is_not_taken() {
    let endless = || Answer::new(200, Body::Endless(10 * GIB));
    let promised = || Answer::new(200, Body::Promised(10 * GIB, Vec::new()));
    let error = fails(&with_blob(move |_| endless())).await;
    assert!(matches!(error, Error::TooLarge { limit: 8, .. }), "{error}");
    let error = fails(&with_blob(move |_| promised())).await;
    assert!(matches!(error, Error::TooLarge { limit: 8, .. }), "{error}");
    let error = fails(&Liar::start(move |_| endless())).await;
    assert!(matches!(error, Error::TooLarge { what: What::Manifest, .. }), "{error}");
    let error = fails(&Liar::start(move |_| promised())).await;
    assert!(matches!(error, Error::TooLarge { what: What::Manifest, .. }), "{error}");
    let error = fails(&Liar::start(|_| Answer::new(500, Body::Endless(10 * GIB)))).await;
    assert!(matches!(error, Error::Status { status: 500, .. }), "{error}");
    let flood = |_: &Asked| {
        (0..200).fold(Answer::ok(""), |answer, _| answer.with("X-Flood", "x".repeat(8 << 10)))
    };
    let error = fails(&Liar::start(flood)).await;
    assert!(matches!(error, Error::Connection { .. }), "{error}");
}

#[tokio::test]
async fn a_large_component_is_not_asked_for() {
    let liar = Liar::start(|_| Answer::ok(manifest(Digest::of(WASM), 10 * GIB)));
    let error = fails(&liar).await;
    assert!(matches!(error, Error::TooLarge { what: What::Component, .. }), "{error}");
    assert_eq!(liar.asked().len(), 1);
}

#[tokio::test]
async fn slowness_ends() {
    for liar in [
        Liar::start(|_| Answer::new(200, Body::Slow)),
        Liar::start(|_| Answer::new(200, Body::Silent)),
        with_blob(|_| Answer::new(200, Body::Silent)),
    ] {
        let error = fails(&liar).await;
        assert!(matches!(error, Error::TooSlow { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_redirect_is_looked_at() {
    // Another server of this machine, as a store of blobs may be.
    let store = Liar::start(|_| Answer::ok(WASM));
    let to = format!("http://127.0.0.1:{}/blob?signature=x", store.port);
    let liar = with_blob(move |_| Answer::status(307).with("Location", to.clone()));
    let pulled = pull(&reference(liar.port, "a:b"), quick()).await.unwrap();
    assert_eq!(pulled.component, WASM);
    for to in
        ["http://192.0.2.1/", "ftp://127.0.0.1/", "file:///etc/passwd", "http://a:b@127.0.0.1/"]
    {
        let error = fails(&with_blob(move |_| Answer::status(302).with("Location", to))).await;
        assert!(matches!(error, Error::Astray { .. }), "{to}: {error}");
    }
    let liar = with_blob(|asked| Answer::status(301).with("Location", asked.path.clone()));
    let error = fails(&liar).await;
    assert!(matches!(error, Error::TooManyRedirects { .. }), "{error}");
    assert_eq!(liar.asked().len(), 7);
    let error = fails(&with_blob(|_| Answer::status(302))).await;
    assert!(matches!(error, Error::Protocol { .. }), "{error}");
}

/// A registry that gives out a token, and then what `blob` says.
fn with_token(blob: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Liar {
    Liar::start(move |asked| {
        let host = asked.head.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or("");
        if asked.path.starts_with("/token") {
            return Answer::ok(r#"{"token": "abc", "access_token": "def"}"#);
        }
        if !asked.head.contains("authorization: Bearer abc") {
            let challenge =
                format!(r#"Bearer realm="http://{host}/token",service="s&t",scope="all""#);
            return Answer::status(401).with("WWW-Authenticate", challenge);
        }
        match asked.path.contains("/manifests/") {
            true => honest(asked),
            false => blob(asked),
        }
    })
}

#[tokio::test]
async fn a_token_is_for_its_registry() {
    let store = Liar::start(|_| Answer::ok(WASM));
    let to = format!("http://127.0.0.1:{}/blob", store.port);
    let liar = with_token(move |_| Answer::status(307).with("Location", to.clone()));
    let pulled: Pulled = pull(&reference(liar.port, "a/b:c"), quick()).await.unwrap();
    assert_eq!(pulled.component, WASM);
    // One token for all, for no more than a pull, whatever the registry says.
    let paths = liar.asked().into_iter().map(|asked| asked.path).collect::<Vec<_>>();
    assert_eq!(paths.len(), 4, "{paths:?}");
    assert_eq!(paths[1], "/token?scope=repository%3Aa%2Fb%3Apull&service=s%26t");
    let head = &store.asked()[0].head;
    assert!(!head.to_lowercase().contains("authorization"), "{head}");
}

#[tokio::test]
async fn a_challenge_is_looked_at() {
    let ask = |challenge: &'static str| {
        Liar::start(move |_| Answer::status(401).with("WWW-Authenticate", challenge))
    };
    for (challenge, is_expected) in [
        ("Negotiate", (|error| matches!(error, Error::Protocol { .. })) as fn(&Error) -> bool),
        ("Basic", |error| matches!(error, Error::NoCredentials { .. })),
        (r#"Bearer realm="http://192.0.2.1/""#, |error| matches!(error, Error::Astray { .. })),
        (r#"Bearer realm="/token""#, |error| matches!(error, Error::Protocol { .. })),
    ] {
        let error = fails(&ask(challenge)).await;
        assert!(is_expected(&error), "{challenge}: {error}");
    }
    let error = fails(&Liar::start(|_| Answer::status(401))).await;
    assert!(matches!(error, Error::Protocol { .. }), "{error}");
    let token = |token: fn() -> Answer| {
        Liar::start(move |asked| {
            if asked.path.starts_with("/token") {
                return token();
            }
            let host = asked.head.lines().find_map(|line| line.strip_prefix("host: "));
            let challenge = format!("Bearer realm=http://{}/token", host.unwrap());
            Answer::status(401).with("WWW-Authenticate", challenge)
        })
    };
    for (token, why) in [
        (token(|| Answer::new(200, Body::Endless(GIB))), "larger than"),
        (token(|| Answer::ok(r#"{"token": "a\nb"}"#)), "no token"),
        (token(|| Answer::ok("{}")), "no token"),
        (token(|| Answer::status(403)), "asks for credentials"),
        (token(|| Answer::status(302).with("Location", "/")), "302"),
        // Good, but the registry wants another one.
        (token(|| Answer::ok(r#"{"access_token": "a"}"#)), "asks for credentials"),
    ] {
        let error = fails(&token).await.to_string();
        assert!(error.contains(why), "{why}: {error}");
    }
}

#[tokio::test]
async fn a_push_goes_nowhere_else() {
    let upload = |location: &'static str| {
        move |asked: &Asked| match &*asked.method {
            "HEAD" => Answer::status(404),
            "POST" => Answer::status(202).with("Location", location),
            _ => Answer::status(308).with("Location", "http://127.0.0.1:1/"),
        }
    };
    for (location, why) in [
        ("http://192.0.2.1/", "not encrypted"),
        ("http://[", "does not speak as a registry"),
        ("http://127.0.0.1:99999/", "does not speak as a registry"),
        ("/v2/a/blobs/uploads/x?y=z", "an upload elsewhere"),
    ] {
        let liar = Liar::start(upload(location));
        let place: Reference = reference(liar.port, "a:b");
        let error = push(&place, component(), quick()).await.unwrap_err().to_string();
        assert!(error.contains(why), "{location}: {error}");
    }
    let liar = Liar::start(|_| Answer::new(500, Body::Endless(10 * GIB)));
    let error = push(&reference(liar.port, "a:b"), component(), quick()).await.unwrap_err();
    assert!(matches!(error, Error::Status { status: 500, .. }) && liar.sent() < SLACK, "{error}");
    // Nothing goes out before a digest is compared.
    let liar = Liar::start(|_| Answer::status(500));
    let pinned = reference(liar.port, "a:b").pinned(Digest::of(WASM));
    assert!(push(&pinned, component(), quick()).await.is_err());
    assert!(liar.asked().is_empty());
}
