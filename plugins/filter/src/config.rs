//! What a filter is told.

use pipehost_plugin::schemars::{self, JsonSchema};
use pipehost_plugin::serde::Deserialize;
use pipehost_plugin::serde_json::Number;

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "pipehost_plugin::serde", deny_unknown_fields)]
#[schemars(extend("x-adds" = [], "examples" = [{ "attribute": "level", "equals": "ERROR" }]))]
pub struct Config {
    /// Looks at the attribute of this name. One of `attribute` and `field` is needed, unless
    /// there is `any` or `all`.
    pub attribute: Option<String>,
    /// Looks at the key, the value or the timestamp.
    pub field: Option<Which>,
    /// Keeps a record that equals this text.
    pub equals: Option<String>,
    /// Keeps a record that equals one of these texts.
    pub one_of: Option<Vec<String>>,
    /// Keeps a record that has this text in it.
    pub contains: Option<String>,
    /// Keeps a record that begins with this text.
    pub starts_with: Option<String>,
    /// Keeps a record that ends with this text.
    pub ends_with: Option<String>,
    /// Keeps a record in which this regular expression (the syntax of Rust's `regex`
    /// crate) matches somewhere.
    pub matches: Option<String>,
    /// Keeps a record that has this (`true`), or does not have it (`false`).
    pub exists: Option<bool>,
    /// Keeps what is this number or a larger one; of a timestamp, this time (RFC 3339) or later.
    pub at_least: Option<Bound>,
    /// Keeps what is this number or a smaller one.
    pub at_most: Option<Bound>,
    /// Keeps what is a smaller number.
    pub less_than: Option<Bound>,
    /// Keeps what is a larger number.
    pub greater_than: Option<Bound>,
    /// Keeps what lies between these two, both included.
    pub between: Option<(Bound, Bound)>,
    /// What happens to a record that is compared with a number and is none.
    pub not_a_number: Option<NotANumber>,
    /// Short for `attribute = "level"` with `equals`.
    pub level: Option<String>,
    /// Keeps a record if one of these conditions holds.
    pub any: Option<Vec<Config>>,
    /// Keeps a record if all of these conditions hold.
    pub all: Option<Vec<Config>>,
    /// Keeps the records that do not match, and drops the others.
    #[serde(default)]
    pub invert: bool,
}

#[derive(Deserialize, JsonSchema, Clone, Copy)]
#[serde(crate = "pipehost_plugin::serde", rename_all = "lowercase")]
pub enum Which {
    Key,
    Value,
    Timestamp,
}

/// A number, or for timestamps a time.
#[derive(Deserialize, JsonSchema)]
#[serde(crate = "pipehost_plugin::serde", untagged)]
pub enum Bound {
    Number(Number),
    Time(String),
}

#[derive(Deserialize, JsonSchema, Clone, Copy, PartialEq, Eq)]
#[serde(crate = "pipehost_plugin::serde", rename_all = "kebab-case")]
pub enum NotANumber {
    /// It does not match.
    NoMatch,
    /// It is rejected.
    Reject,
}
