//! Arbitrary modules in the place of a stage: the host must survive all of them.
//!
//! `PIPEHOST_GUESTS=10000 cargo test -p pipehost-sandbox arbitrary` tests that many modules.

use std::sync::Arc;
use std::time::Duration;

use wasm_smith::{Config, Module};

use super::Instance;
use crate::compile::Metering;
use crate::compile::Source;
use crate::component::Component;
use crate::contract::state::{GroupState, KeyGroups, Saved, SavedBy};
use crate::engine::Engine;
use crate::host::GuestLog;
use pipehost_config::grants::Grants;
use pipehost_config::limits::{Fuel, Limits};
use pipehost_observe::metrics::Metrics;
use pipehost_record::{Batch, BatchBuilder};

/// The exports of a stage with all optional interfaces, named as in the canonical ABI.
const SHAPE: &str = r#"(module
  (memory (export "memory") 2)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
  (func (export "pipehost:stage/stage@0.2.0#describe") (result i32) unreachable)
  (func (export "pipehost:stage/stage@0.2.0#open") (param i32 i32) (result i32) unreachable)
  (func (export "pipehost:stage/stage@0.2.0#process") (param i32) (result i32) unreachable)
  (func (export "pipehost:stage/stage@0.2.0#finish") (result i32) unreachable)
  (func (export "pipehost:stage/checkpoint@0.2.0#save") (param i32 i32 i32) (result i32) unreachable)
  (func (export "pipehost:stage/checkpoint@0.2.0#restore") (param i32 i32 i32 i32 i32 i32) (result i32) unreachable)
  (func (export "pipehost:stage/watermark@0.2.0#advance") (param i64) (result i32) unreachable))"#;

fn module(random: &mut fastrand::Rng) -> Option<Vec<u8>> {
    let shape = match random.bool() {
        true => SHAPE.replace("stage/stage@", "stage/packed-stage@").replace(
            "stage/watermark@0.2.0#advance\") (param i64)",
            "stage/packed-watermark@0.2.0#advance\") (param i32 i32)",
        ),
        false => SHAPE.to_owned(),
    };
    let seed: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(2048).collect();
    let config = Config {
        exports: Some(wat::parse_str(&shape).expect("it is a module")),
        max_imports: 0,
        allow_start_export: true,
        gc_enabled: false,
        exceptions_enabled: false,
        memory64_enabled: false,
        threads_enabled: false,
        relaxed_simd_enabled: false,
        tail_call_enabled: false,
        ..Config::default()
    };
    let module = Module::new(config, &mut arbitrary::Unstructured::new(&seed)).ok()?;
    Some(module.to_bytes())
}

fn batch() -> Batch {
    let mut builder = BatchBuilder::default();
    let attributes = [("level", &b"INFO"[..])];
    for number in 1..=3 {
        let attributes = attributes.into_iter();
        builder.push(&"test".into(), number, Some(0), Some(b"k"), Some(b"value"), attributes);
    }
    builder.take()
}

fn saved() -> Saved {
    let groups = vec![GroupState { number: 0, state: b"saved"[..].into() }];
    Saved { groups, by: SavedBy { version: "1".to_owned(), config: "{}".to_owned() } }
}

#[tokio::test]
async fn the_host_survives_arbitrary_guests() {
    let wanted: usize = std::env::var("PIPEHOST_GUESTS").map_or(300, |n| n.parse().unwrap());
    let engine = Arc::new(Engine::new(Metering::Fuel, 4).unwrap().without_cache());
    let limits = Limits {
        fuel: Some(Fuel { base: 100_000, per_record: 0, per_byte: 0 }),
        timeout: Duration::from_secs(5),
        memory_bytes: 16 << 20,
        ..Limits::default()
    };
    let metrics = Metrics::default().node("test");
    let mut random = fastrand::Rng::with_seed(1);
    let (mut made, mut loaded, mut answered) = (0, 0, 0);
    while made < wanted {
        let Some(module) = module(&mut random) else { continue };
        made += 1;
        let path = "guest.wasm".into();
        let source = Source { path, bytes: module, is_text: false };
        let component = Component::load(
            engine.clone(),
            "guest".into(),
            &source,
            limits.clone(),
            Grants::default(),
        );
        let Ok(component) = component else { continue };
        loaded += 1;
        // A new instance for each call: after a failure, the old one must not be used.
        for call in 0..7 {
            let log = GuestLog::new("guest".into(), 0, 1000, &metrics);
            let Ok(mut instance) = Instance::start(&component, log, &metrics).await else { break };
            let answer = match call {
                0 => instance.describe().await.is_ok(),
                1 => instance.open("{}").await.is_ok(),
                2 => instance.process(&batch()).await.is_ok(),
                3 => instance.finish().await.is_ok(),
                4 => instance.save(&KeyGroups::ONE).await.is_ok(),
                5 => instance.restore(saved()).await.is_ok(),
                _ => instance.advance(0).await.is_ok(),
            };
            answered += usize::from(answer);
        }
    }
    // Most modules are refused. Enough must have been loaded and called.
    assert!(loaded > wanted / 10, "{loaded} of {made} were loaded");
    println!("{made} guests, {loaded} loaded, {answered} calls answered");
}
