//! Push and pull with a real registry: Debian's docker-registry.

mod support;

use pipehost_registry::{Component, Digest, Error, Limits, Lock, pull, push};
use support::real::Registry;
use support::{component, reference};

#[tokio::test]
async fn what_was_pushed_is_pulled() {
    let Some(registry) = Registry::start() else { return };
    let tag = reference(registry.port, "acme/redact:1.0");
    let digest = push(&tag, component(), Limits::default()).await.unwrap();
    // Again, and under another name: the same digest.
    assert_eq!(push(&tag, component(), Limits::default()).await.unwrap(), digest);
    let other = reference(registry.port, "other:latest");
    assert_eq!(push(&other, component(), Limits::default()).await.unwrap(), digest);
    for reference in [tag.clone(), tag.pinned(digest), other] {
        let pulled = pull(&reference, Limits::default()).await.unwrap();
        assert_eq!((pulled.digest, pulled.component), (digest, component().wasm.to_vec()));
    }
    // Without a tag, the registry keeps it under its digest.
    let place = format!("untagged@{digest}");
    let untagged = reference(registry.port, &place);
    push(&untagged, component(), Limits::default()).await.unwrap();
    assert_eq!(pull(&untagged, Limits::default()).await.unwrap().digest, digest);
}

#[tokio::test]
async fn a_lock_holds_while_a_tag_moves() {
    let Some(registry) = Registry::start() else { return };
    let tag = reference(registry.port, "acme/redact:1");
    let first = push(&tag, component(), Limits::default()).await.unwrap();
    let mut lock = Lock::default();
    lock.keep(&tag, pull(&tag, Limits::default()).await.unwrap().digest);
    let mut changed = component();
    changed.annotations.insert("b".to_owned(), "é \"\\ <&>".to_owned());
    changed.annotations.insert("a".to_owned(), String::new());
    let second = push(&tag, changed, Limits::default()).await.unwrap();
    assert_ne!(first, second);
    assert_eq!(pull(&tag, Limits::default()).await.unwrap().digest, second);
    let pinned = lock.pin(&tag).unwrap();
    assert_eq!(pull(&pinned, Limits::default()).await.unwrap().digest, first);
}

#[tokio::test]
async fn what_cannot_be_pushed_is_not() {
    let Some(registry) = Registry::start() else { return };
    let tag = reference(registry.port, "acme/redact:1");
    let text = Component { wasm: "text".into(), ..Component::default() };
    let error = push(&tag, text, Limits::default()).await.unwrap_err();
    assert!(error.to_string().contains("no WebAssembly"), "{error}");
    let small = Limits { component: 10, ..Limits::default() };
    let error = push(&tag, component(), small).await.unwrap_err();
    assert!(error.to_string().contains("the limit is 10"), "{error}");
    let error = push(&tag.pinned(Digest::of(b"")), component(), Limits::default()).await;
    assert!(matches!(error, Err(Error::NotPushable(_))), "{error:?}");
    let error = pull(&tag, Limits::default()).await.unwrap_err();
    assert!(matches!(error, Error::Missing(_)), "{error}");
}

#[tokio::test]
async fn a_component_of_megabytes_is_whole() {
    let Some(registry) = Registry::start() else { return };
    let tag = reference(registry.port, "acme/large:1");
    // A module with a custom section: its length in LEB128, an empty name, noise.
    let noise = (0..20_u32 << 18).flat_map(|n| n.wrapping_mul(0x9e37_79b9).to_le_bytes());
    let noise = noise.collect::<Vec<u8>>();
    let mut wasm = b"\0asm\x01\0\0\0\0".to_vec();
    let mut length = noise.len() + 1;
    while length > 0x7f {
        wasm.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    wasm.extend([length as u8, 0]);
    wasm.extend(noise);
    let large = Component { wasm: wasm.clone().into(), ..Component::default() };
    push(&tag, large, Limits::default()).await.unwrap();
    assert!(pull(&tag, Limits::default()).await.unwrap().component == wasm);
    let small = Limits { component: 10 << 20, ..Limits::default() };
    let error = pull(&tag, small).await.unwrap_err();
    assert!(error.to_string().contains("larger than 10485760 bytes"), "{error}");
}
