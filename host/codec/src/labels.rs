//! What is known of a record beside its bytes, as attributes.

use std::sync::Arc;
use std::time::SystemTime;

use pipehost_config::Metadata;
use pipehost_record::time::rfc3339;

/// Names and texts of attributes that each record of an input gets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Labels {
    same: Vec<(Arc<str>, Vec<u8>)>,
    offset: Option<Arc<str>>,
}

impl Labels {
    /// Those of an input, now.
    pub(super) fn of_input(metadata: &Metadata, input: &str) -> Self {
        let mut same = Vec::new();
        let mut add = |name: &Option<String>, text: &dyn Fn() -> Vec<u8>| {
            if let Some(name) = name {
                same.push((name.as_str().into(), text()));
            }
        };
        add(&metadata.path, &|| input.as_bytes().to_vec());
        add(&metadata.host, &|| rustix::system::uname().nodename().to_bytes().to_vec());
        add(&metadata.ingested, &|| {
            let since =
                SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            rfc3339(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)).into_bytes()
        });
        Self { same, offset: metadata.offset.as_deref().map(Into::into) }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.same.is_empty() && self.offset.is_none()
    }

    /// How many attributes they are at most.
    pub(super) fn count(&self) -> usize {
        self.same.len() + usize::from(self.offset.is_some())
    }

    /// Those of a record with this offset.
    pub(super) fn of<'a>(&'a self, offset: &'a [u8]) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        let same = self.same.iter().map(|(name, text)| (&**name, &**text));
        same.chain(self.offset.as_deref().map(|name| (name, offset)))
    }
}
