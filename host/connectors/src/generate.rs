//! Generated records, for trials and tests.

use anyhow::Result;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::connector::SourceConnector;
use pipehost_codec::Decoded;
use pipehost_config::Generate;
use pipehost_observe::progress::Progress;
use pipehost_record::template::Template;

pub struct Generator {
    config: Generate,
    made: u64,
    /// The part of `made` that earlier runs made.
    before: u64,
    start: Option<Instant>,
    place: Arc<str>,
    progress: Arc<Progress>,
}

impl Generator {
    pub(crate) fn new(config: Generate, position: Option<&Value>, progress: Arc<Progress>) -> Self {
        progress.set_total(config.count.unwrap_or(0));
        let before = position.and_then(Value::as_u64).unwrap_or(0);
        progress.add(before);
        Self { config, made: before, before, start: None, place: "generate".into(), progress }
    }
}

impl SourceConnector for Generator {
    async fn ready(&mut self) -> Result<bool> {
        if self.config.count.is_some_and(|count| self.made >= count) {
            return Ok(false);
        }
        let start = *self.start.get_or_insert_with(Instant::now);
        if let Some(rate) = self.config.rate {
            let due = Duration::from_secs_f64((self.made - self.before) as f64 / rate as f64);
            tokio::time::sleep_until(start + due).await;
        }
        Ok(true)
    }

    fn position(&self) -> Option<Value> {
        Some(self.made.into())
    }

    fn decode(&mut self, out: &mut Decoded, full: impl Fn(&Decoded) -> bool) -> Result<()> {
        let due = match (self.config.rate, self.start) {
            (Some(rate), Some(start)) => {
                self.before + 1 + (start.elapsed().as_secs_f64() * rate as f64) as u64
            }
            _ => u64::MAX,
        };
        let end = self.config.count.unwrap_or(u64::MAX).min(due);
        let (mut key, mut value) = (Vec::new(), Vec::new());
        let before = self.made;
        while self.made < end && !full(out) {
            self.made += 1;
            let render = |template: &Template, out: &mut Vec<u8>| {
                out.clear();
                template.render_with(out, |_, out| {
                    write!(out, "{}", self.made).expect("a vector takes all");
                });
            };
            render(&self.config.template, &mut value);
            if let Some(template) = &self.config.key {
                render(template, &mut key);
            }
            let key = self.config.key.as_ref().map(|_| &key[..]);
            out.batch.push(&self.place, self.made, None, key, Some(&value), std::iter::empty());
        }
        self.progress.add(self.made - before);
        Ok(())
    }

    fn place(&self) -> Arc<str> {
        self.place.clone()
    }
}
