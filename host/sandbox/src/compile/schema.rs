//! Checks a configuration against the JSON Schema of its stage, which is untrusted.

use anyhow::{Result, anyhow};
use jsonschema::error::ValidationErrorKind;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::cache::Cache;
use super::child;
use super::job::{Job, Refusal};
use super::limits::Limits;
use pipehost_files::content_hash;
use pipehost_record::foreign::Foreign;

/// Maximum complaints that are reported.
const TOLD: usize = 20;

/// What is wrong with a part of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Complaint {
    /// JSON pointer of the part; with `#` appended, it means the name of the part.
    pub place: String,
    pub message: String,
    pub help: Option<String>,
    /// An unknown name, and the known ones.
    pub unknown: Option<(String, Vec<String>)>,
}

/// All complaints, or why the schema is invalid.
type Checked = Result<Vec<Complaint>>;

/// Checks a configuration, within the limits. With a cache, a configuration that has passed is not
/// checked again.
///
/// # Errors
/// If the schema is invalid, or a limit was exceeded.
pub fn check(
    schema: &str,
    config: &Value,
    limits: &Limits,
    cache: Option<&Cache>,
) -> Result<Vec<Complaint>> {
    let config = config.to_string();
    if !child::can_be_asked() {
        return check_here(schema, &config);
    }
    // The length separates the schema from the configuration.
    let both = format!("{} {schema}{config}", schema.len());
    let name = format!("{}-{}", content_hash(both.as_bytes()), env!("CARGO_PKG_VERSION"));
    if cache.is_some_and(|cache| cache.has_note(&name)) {
        return Ok(Vec::new());
    }
    let job = Job::Schema { schema: schema.to_owned(), config };
    let what = "the check of its configuration against its schema";
    let complaints =
        child::ask::<_, Result<Vec<Complaint>, Refusal>>(&job, what, limits, "limits.compile")??;
    if complaints.is_empty()
        && let Some(cache) = cache
    {
        cache.note(&name);
    }
    Ok(complaints)
}

/// Checks in this process.
pub(super) fn check_here(schema: &str, config: &str) -> Checked {
    let broken = |why: String| anyhow!("its schema is invalid: {}", Foreign::new(&why));
    let schema: Value = serde_json::from_str(schema).map_err(|error| broken(error.to_string()))?;
    let config: Value = serde_json::from_str(config).map_err(|error| broken(error.to_string()))?;
    let validator =
        jsonschema::validator_for(&schema).map_err(|error| broken(error.to_string()))?;
    let mut complaints: Vec<Complaint> = Vec::new();
    for error in validator.iter_errors(&config) {
        if complaints.len() >= TOLD {
            complaints.push(Complaint {
                place: String::new(),
                message: "there are more mistakes; correct these to see them".into(),
                help: None,
                unknown: None,
            });
            break;
        }
        complaints.extend(complaints_of(&error, &schema));
    }
    Ok(complaints)
}

fn complaints_of(error: &jsonschema::ValidationError<'_>, schema: &Value) -> Vec<Complaint> {
    let pointer = error.instance_path().to_string();
    if let ValidationErrorKind::AdditionalProperties { unexpected } = error.kind() {
        let known = schema["properties"].as_object();
        let known: Vec<String> =
            known.into_iter().flat_map(|names| names.keys().cloned()).collect();
        let unknown = |name: &String| Complaint {
            place: format!("{pointer}/{name}#"),
            message: format!("its configuration has no member `{name}`"),
            help: None,
            unknown: Some((name.clone(), known.clone())),
        };
        return unexpected.iter().take(TOLD).map(unknown).collect();
    }
    let member = if pointer.is_empty() {
        String::new()
    } else {
        format!("`config{}`: ", pointer.replace('/', "."))
    };
    let help = schema.pointer(&format!("/properties{pointer}/description"));
    vec![Complaint {
        message: Foreign::new(&format!("{member}{error}")).to_string(),
        help: help.and_then(Value::as_str).map(|text| Foreign::new(text).lines().to_string()),
        place: pointer,
        unknown: None,
    }]
}
