use std::num::NonZeroU64;

use pipehost_plugin::schemars::{self, JsonSchema};
use pipehost_plugin::serde::Deserialize;
use pipehost_plugin::{
    Checkpoint, Error, Field, Out, Port, Record, Rejection, Save, Saved, Setup, Stage,
};

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "pipehost_plugin::serde", deny_unknown_fields)]
#[schemars(extend("x-adds" = [], "examples" = [{ "level": "CRITICAL", "threshold": 3 }]))]
pub struct Config {
    /// The attribute that holds the level.
    #[serde(default = "attribute")]
    attribute: String,
    /// The level to count.
    level: String,
    /// An alert at this many records of the level, and at each multiple.
    threshold: NonZeroU64,
}

fn attribute() -> String {
    "level".to_owned()
}

pub struct Alert {
    field: Field,
    value: Field,
    alerts: Port,
    level: String,
    threshold: NonZeroU64,
    count: u64,
}

impl Stage for Alert {
    type Config = Config;

    fn open(config: Config, setup: &mut Setup) -> Result<Self, Error> {
        Ok(Self {
            field: setup.attribute(&config.attribute),
            value: setup.value(),
            alerts: setup.port("alerts"),
            level: config.level,
            threshold: config.threshold,
            count: 0,
        })
    }

    #[inline(always)]
    fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
        out.keep();
        if record.get(self.field) == Some(self.level.as_bytes()) {
            self.count += 1;
            if self.count % self.threshold == 0 {
                out.send(self.alerts).value_with(|alert| {
                    let text = format!("ALERT: {} {} records, the last: ", self.count, self.level);
                    alert.extend_from_slice(text.as_bytes());
                    alert.extend_from_slice(record.get(self.value).unwrap_or_default());
                });
            }
        }
        Ok(())
    }
}

impl Checkpoint for Alert {
    fn save(&self, state: &mut Save) -> Result<(), Error> {
        state.put(&self.count)
    }

    fn restore(&mut self, saved: &Saved) -> Result<(), Error> {
        self.count = saved.get()?;
        Ok(())
    }
}

pipehost_plugin::export!(Alert, checkpoint);

#[cfg(test)]
mod tests {
    use super::Alert;
    use pipehost_plugin::driver::Opened;
    use pipehost_plugin::serde_json::json;
    use pipehost_plugin::testing::{Driven, TestRecord, record, run};

    fn critical(value: &str) -> TestRecord {
        record(value).attribute("level", "CRITICAL")
    }

    #[test]
    fn every_record_goes_on_and_each_threshold_raises_an_alert() {
        let records = [critical("a"), record("x"), critical("b"), critical("c"), critical("d")];
        let out = run::<Alert>(json!({ "level": "CRITICAL", "threshold": 2 }), records.clone());
        assert_eq!(out.port("out"), records);
        assert_eq!(
            out.port("alerts"),
            [
                critical("ALERT: 2 CRITICAL records, the last: b"),
                critical("ALERT: 4 CRITICAL records, the last: d"),
            ]
        );
    }

    #[test]
    fn the_count_outlives_the_instance() {
        let config = json!({ "level": "CRITICAL", "threshold": 2 });
        let mut stage = Driven::<Alert>::open(config.clone());
        stage.process([critical("a"), critical("b"), critical("c")]);
        let out = stage.restarted(config).process([critical("d")]);
        let alert = critical("ALERT: 4 CRITICAL records, the last: d");
        assert_eq!(out.port("alerts"), [alert]);
    }

    #[test]
    fn a_threshold_of_zero_is_refused() {
        assert!(Opened::<Alert>::open(r#"{ "level": "X", "threshold": 0 }"#).is_err());
    }
}
