use std::collections::BTreeMap;

use pipehost_plugin::schemars::{self, JsonSchema};
use pipehost_plugin::serde::{Deserialize, Serialize};
use pipehost_plugin::{
    Checkpoint, Error, Field, Out, Period, Port, Record, Rejection, Save, Saved, Setup, Stage,
    Time, Timed, rfc3339,
};

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "pipehost_plugin::serde", deny_unknown_fields)]
pub struct Config {
    /// A session ends when nothing comes for so long.
    gap: Period,
    /// Whose sessions: those of this attribute; without it, of the key.
    attribute: Option<String>,
    /// How many sessions may be open at a time in each lane: a record that would begin one more
    /// is rejected.
    #[serde(default = "max_open")]
    max_open: usize,
}

fn max_open() -> usize {
    100_000
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(crate = "pipehost_plugin::serde")]
struct Session {
    first: i64,
    last: i64,
    count: u64,
}

struct State {
    /// By key, its sessions in the order of time; they never touch.
    sessions: BTreeMap<Vec<u8>, Vec<Session>>,
    open: usize,
    watermark: i64,
}

/// For each session: the key, the time of its first record as timestamp, the number of
/// records as value, and the attributes `session_start` and `session_end`. Records of
/// sessions that have ended go to the port `late`.
pub struct Sessionize {
    time: Time,
    key: Field,
    late: Port,
    gap: i64,
    max_open: usize,
    state: State,
}

impl Stage for Sessionize {
    type Config = Config;

    fn open(config: Config, setup: &mut Setup) -> Result<Self, Error> {
        if config.gap.0 == 0 {
            return Err("`gap` must be more than nothing".into());
        }
        let key = setup.attribute_or_key(config.attribute.as_deref());
        setup.keeps_by_key(key);
        Ok(Self {
            time: setup.timestamp(),
            key,
            late: setup.port("late"),
            gap: config.gap.0,
            max_open: config.max_open,
            state: State { sessions: BTreeMap::new(), open: 0, watermark: i64::MIN },
        })
    }

    fn process(&mut self, record: &Record, out: &mut Out) -> Result<(), Rejection> {
        let time = record.timestamp(self.time);
        let time = time.ok_or_else(|| Rejection::new("the record has no timestamp"))?;
        let key = record.get(self.key).unwrap_or_default();
        let (gap, state) = (self.gap, &mut self.state);
        let touches = |session: &Session| {
            time <= session.last.saturating_add(gap) && session.first <= time.saturating_add(gap)
        };
        let known = state.sessions.get(key);
        let joins = known.is_some_and(|sessions| sessions.iter().any(touches));
        if !joins && time.saturating_add(gap) <= state.watermark {
            out.send(self.late);
            return Ok(());
        }
        if !joins && state.open >= self.max_open {
            return Err(Rejection::new(format!("max_open, {}, sessions are open", self.max_open)));
        }
        let sessions = state.sessions.entry(key.to_vec()).or_default();
        // A record between two sessions makes one of them.
        let mut merged = Session { first: time, last: time, count: 1 };
        let before = sessions.len();
        sessions.retain(|session| {
            if touches(session) {
                merged.first = merged.first.min(session.first);
                merged.last = merged.last.max(session.last);
                merged.count += session.count;
            }
            !touches(session)
        });
        let place = sessions.partition_point(|session| session.first < merged.first);
        sessions.insert(place, merged);
        state.open = state.open + sessions.len() - before;
        Ok(())
    }

    fn finish(&mut self, out: &mut Out) -> Result<(), Error> {
        self.close(i64::MAX, out);
        Ok(())
    }
}

impl Sessionize {
    /// Emits the sessions that ended before `watermark`, in the order of their ends.
    fn close(&mut self, watermark: i64, out: &mut Out) {
        let mut closed: Vec<(Session, Vec<u8>)> = Vec::new();
        let gap = self.gap;
        let ended = |session: &Session| {
            watermark == i64::MAX || session.last.saturating_add(gap) <= watermark
        };
        self.state.sessions.retain(|key, sessions| {
            closed.extend(sessions.iter().filter(|s| ended(s)).map(|s| (*s, key.clone())));
            sessions.retain(|session| !ended(session));
            !sessions.is_empty()
        });
        self.state.open -= closed.len();
        closed.sort_by(|(a, key), (b, other)| (a.last, key).cmp(&(b.last, other)));
        for (session, key) in closed {
            out.create()
                .key(key)
                .timestamp(session.first)
                .value(session.count.to_string())
                .attribute("session_start", rfc3339(session.first))
                .attribute("session_end", rfc3339(session.last));
        }
    }
}

impl Checkpoint for Sessionize {
    fn save(&self, state: &mut Save) -> Result<(), Error> {
        state.put(&self.state.watermark)?;
        state.put_by_key(self.state.sessions.iter().map(|(key, sessions)| (&key[..], sessions)))
    }

    fn restore(&mut self, saved: &Saved) -> Result<(), Error> {
        let sessions: BTreeMap<Vec<u8>, Vec<Session>> = saved.by_key()?.into_iter().collect();
        let open = sessions.values().map(Vec::len).sum();
        self.state = State { sessions, open, watermark: saved.get()? };
        Ok(())
    }

    fn accepts(&self, saved: &Saved) -> Result<(), Error> {
        saved.accept_changes_of(&["max_open"])
    }
}

impl Timed for Sessionize {
    fn advance(&mut self, watermark: i64, out: &mut Out) -> Result<(), Error> {
        self.state.watermark = self.state.watermark.max(watermark);
        self.close(self.state.watermark, out);
        Ok(())
    }
}

pipehost_plugin::export!(Sessionize, timed);

#[cfg(test)]
mod tests {
    use super::Sessionize;
    use pipehost_plugin::serde_json::json;
    use pipehost_plugin::testing::{Driven, TestRecord, record, run};

    const SECOND: i64 = 1_000_000_000;

    fn at(second: i64, key: &str) -> TestRecord {
        record("x").key(key).timestamp(second * SECOND)
    }

    fn session(first: i64, last: i64, key: &str, count: u64) -> TestRecord {
        let time = |second| format!("1970-01-01T00:00:{second:02}Z");
        at(first, key)
            .value(count.to_string())
            .attribute("session_start", time(first))
            .attribute("session_end", time(last))
    }

    #[test]
    fn a_pause_ends_a_session() {
        let records = [at(0, "a"), at(4, "a"), at(10, "a"), at(1, "b")];
        let out = run::<Sessionize>(json!({ "gap": "5s" }), records);
        let expected = [session(1, 1, "b", 1), session(0, 4, "a", 2), session(10, 10, "a", 1)];
        assert_eq!(out.port("out"), expected);
    }

    #[test]
    fn a_record_between_two_sessions_joins_them() {
        let out = run::<Sessionize>(json!({ "gap": "5s" }), [at(0, "a"), at(9, "a"), at(5, "a")]);
        assert_eq!(out.port("out"), [session(0, 9, "a", 3)]);
    }

    #[test]
    fn time_closes_sessions_and_what_comes_after_is_late() {
        let config = json!({ "gap": "5s" });
        let mut stage = Driven::<Sessionize>::open(config.clone());
        stage.process([at(0, "a"), at(3, "b")]);
        assert_eq!(stage.advance(5 * SECOND).port("out"), [session(0, 0, "a", 1)]);
        let mut stage = stage.restarted(config);
        let out = stage.process([at(0, "a"), at(2, "b")]);
        assert_eq!(out.port("late"), [at(0, "a")]);
        assert_eq!(stage.finish().port("out"), [session(2, 3, "b", 2)]);
    }

    #[test]
    fn one_session_too_many_is_rejected() {
        let config = json!({ "gap": "5s", "max_open": 1 });
        let out = run::<Sessionize>(config, [at(0, "a"), at(1, "a"), at(0, "b")]);
        assert_eq!(out.rejected, [(2, "max_open, 1, sessions are open".to_owned())]);
    }
}
