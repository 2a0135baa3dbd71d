//! The manifest and the config of a component: the Wasm OCI Artifact layout.
//!
//! Both are made of the component and nothing else, so that one component has one digest. The
//! bytes are those that `oci-wasm` makes, with another time: see [`CREATED`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::Error;
use crate::interface::Interface;
use crate::reference::Reference;

pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.wasm.config.v0+json";
const LAYER: &str = "application/wasm";
const ARCHITECTURE: &str = "wasm";
/// Readers need a time. The one of the push would make each push another artifact.
const CREATED: &str = "1970-01-01T00:00:00Z";
/// Clients for all artifacts write no layer without a title. The name of the file that was pushed
/// would make its digest another one.
const TITLE: (&str, &str) = ("org.opencontainers.image.title", "component.wasm");

/// What is pushed with a component.
pub(crate) struct Artifact {
    pub config: Vec<u8>,
    pub manifest: Vec<u8>,
    pub component: Digest,
}

// Fields in the order of `oci-wasm`, and what is absent as null: readers differ.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenConfig {
    created: &'static str,
    author: Option<&'static str>,
    architecture: &'static str,
    os: &'static str,
    layer_digests: [String; 1],
    component: Option<WrittenInterface>,
}

#[derive(Serialize)]
struct WrittenInterface {
    exports: Vec<String>,
    imports: Vec<String>,
    target: Option<&'static str>,
}

// Fields in the order of the alphabet: canonical JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenManifest<'a> {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
    config: WrittenDescriptor,
    layers: [WrittenDescriptor; 1],
    media_type: &'static str,
    schema_version: u8,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenDescriptor {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'static str, &'static str>,
    digest: String,
    media_type: &'static str,
    size: usize,
}

impl Artifact {
    pub fn of(wasm: &[u8], annotations: &BTreeMap<String, String>) -> Result<Self, Error> {
        let interface = Interface::of(wasm)
            .map_err(|error| Error::NotPushable(format!("it is no WebAssembly: {error}")))?;
        let (os, component) = match interface {
            Interface::Module => ("wasip1", None),
            Interface::Component { imports, exports } => {
                ("wasip2", Some(WrittenInterface { exports, imports, target: None }))
            }
        };
        let digest = Digest::of(wasm);
        let config = json(&WrittenConfig {
            created: CREATED,
            author: None,
            architecture: ARCHITECTURE,
            os,
            layer_digests: [digest.to_string()],
            component,
        });
        let manifest = json(&WrittenManifest {
            annotations,
            config: WrittenDescriptor {
                annotations: BTreeMap::new(),
                digest: Digest::of(&config).to_string(),
                media_type: CONFIG,
                size: config.len(),
            },
            layers: [WrittenDescriptor {
                annotations: BTreeMap::from([TITLE]),
                digest: digest.to_string(),
                media_type: LAYER,
                size: wasm.len(),
            }],
            media_type: MANIFEST,
            schema_version: 2,
        });
        Ok(Self { config, manifest, component: digest })
    }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("a vector takes all, and keys are texts")
}

/// Where a manifest says that its component is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Layer {
    pub digest: Digest,
    pub size: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadManifest {
    schema_version: u64,
    config: Option<ReadConfig>,
    /// Only an index has them.
    manifests: Option<serde::de::IgnoredAny>,
    #[serde(default)]
    layers: Vec<ReadLayer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadConfig {
    media_type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadLayer {
    media_type: String,
    digest: String,
    size: u64,
    // `urls`, other places to get it from, are not looked at: they come from a stranger.
}

impl Layer {
    /// Reads a manifest.
    ///
    /// # Errors
    /// If it is none of a component.
    pub fn of(manifest: &[u8], reference: &Reference) -> Result<Self, Error> {
        let no = |what: String| Error::NoComponent { reference: reference.to_string(), what };
        let manifest: ReadManifest = serde_json::from_slice(manifest)
            .map_err(|error| no(format!("something without a manifest ({error})")))?;
        if manifest.manifests.is_some() {
            return Err(no("an index of several artifacts".to_owned()));
        }
        if manifest.schema_version != 2 {
            return Err(no(format!("of schema version {}", manifest.schema_version)));
        }
        let config = manifest.config.map_or(String::new(), |config| config.media_type);
        if config != CONFIG {
            return Err(no(format!("an artifact of the type \"{}\"", shown(&config))));
        }
        let [layer] = &manifest.layers[..] else {
            return Err(no(format!("an artifact of {} layers", manifest.layers.len())));
        };
        if layer.media_type != LAYER {
            return Err(no(format!("a layer of the type \"{}\"", shown(&layer.media_type))));
        }
        Ok(Self { digest: layer.digest.parse()?, size: layer.size })
    }
}

fn shown(text: &str) -> String {
    text.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODULE: &[u8] = b"\0asm\x01\0\0\0";

    #[test]
    fn one_component_has_one_digest() {
        let digest = |annotations: &[(&str, &str)]| {
            let pair = |&(key, value): &(&str, &str)| (key.to_owned(), value.to_owned());
            let annotations = annotations.iter().map(pair).collect();
            Digest::of(&Artifact::of(MODULE, &annotations).unwrap().manifest).to_string()
        };
        // Stands here so that a change of the format is seen.
        let known = "sha256:0214c73ec66b81bc60328d13dcc2d7ab2c96e872423456f8b06df8dfb14a1456";
        assert_eq!(digest(&[]), known);
        assert_eq!(digest(&[("b", "1"), ("a", "2")]), digest(&[("a", "2"), ("b", "1")]));
        assert_ne!(digest(&[("a", "2")]), known);
    }

    #[test]
    fn what_is_no_component_says_what_it_is() {
        let reference: Reference = "oci://ghcr.io/a:b".parse().unwrap();
        let digest = Digest::of(MODULE);
        let layer = format!(r#"{{"mediaType": "{LAYER}", "digest": "{digest}", "size": 8}}"#);
        let of = |config: &str, layers: &str| {
            let config = format!(r#"{{"mediaType": "{config}"}}"#);
            let text =
                format!(r#"{{"schemaVersion": 2, "config": {config}, "layers": [{layers}]}}"#);
            Layer::of(text.as_bytes(), &reference).map_err(|error| error.to_string())
        };
        assert_eq!(of(CONFIG, &layer), Ok(Layer { digest, size: 8 }));
        let image = "application/vnd.oci.image.config.v1+json";
        for (found, why) in [
            (of(image, &layer), "image.config"),
            (of(CONFIG, ""), "0 layers"),
            (of(CONFIG, &format!("{layer}, {layer}")), "2 layers"),
            (of(CONFIG, &layer.replace(LAYER, "text/html")), "text/html"),
            (of(CONFIG, &layer.replace("sha256:", "sha512:")), "not a digest"),
            (of(CONFIG, &layer.replace('8', "-8")), "without a manifest"),
        ] {
            assert!(found.as_ref().is_err_and(|error| error.contains(why)), "{why}: {found:?}");
        }
        for (text, why) in [
            (r#"{"schemaVersion": 2, "manifests": []}"#, "index"),
            (r#"{"schemaVersion": 1}"#, "version 1"),
            ("<html>", "without a manifest"),
        ] {
            let error = Layer::of(text.as_bytes(), &reference).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
