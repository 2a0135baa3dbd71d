//! A profile of guests, sampled a thousand times a second, with a track for each stage:
//! <https://profiler.firefox.com> opens it.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use fxprof_processed_profile::{
    CategoryHandle, CpuDelta, Frame, FrameFlags, FrameInfo, ProcessHandle, Profile,
    SamplingInterval, ThreadHandle, Timestamp,
};

pub struct GuestProfile {
    start: Instant,
    collected: Mutex<Collected>,
}

struct Collected {
    profile: Profile,
    process: ProcessHandle,
    /// By stage; its workers share a track.
    threads: BTreeMap<String, ThreadHandle>,
}

impl GuestProfile {
    /// How often guests are sampled.
    pub const INTERVAL: Duration = Duration::from_millis(1);

    pub fn new(pipeline: &str) -> Self {
        let interval = SamplingInterval::from_millis(Self::INTERVAL.as_millis() as u64);
        let mut profile = Profile::new(pipeline, SystemTime::now().into(), interval);
        let process = profile.add_process(pipeline, std::process::id(), at(Duration::ZERO));
        let collected = Collected { profile, process, threads: BTreeMap::new() };
        Self { start: Instant::now(), collected: collected.into() }
    }

    fn collected(&self) -> MutexGuard<'_, Collected> {
        self.collected.lock().expect("nobody panics here")
    }

    /// Records that a stage is in these functions, the outermost first.
    pub fn sample<'a>(&self, stage: &str, functions: impl Iterator<Item = &'a str>) {
        let now = at(self.start.elapsed());
        let Collected { profile, process, threads } = &mut *self.collected();
        let thread = match threads.get(stage) {
            Some(thread) => *thread,
            None => {
                let number = threads.len() as u32 + 1;
                let thread = profile.add_thread(*process, number, now, false);
                profile.set_thread_name(thread, stage);
                threads.insert(stage.to_owned(), thread);
                thread
            }
        };
        let frames: Vec<_> = functions
            .map(|function| FrameInfo {
                frame: Frame::Label(profile.intern_string(&name(function))),
                category_pair: CategoryHandle::OTHER.into(),
                flags: FrameFlags::empty(),
            })
            .collect();
        let stack = profile.intern_stack_frames(thread, frames.into_iter());
        profile.add_sample(thread, now, stack, CpuDelta::from(Self::INTERVAL), 1);
    }

    /// Writes the profile, as JSON.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, mut to: impl Write) -> std::io::Result<()> {
        serde_json::to_writer(&mut to, &self.collected().profile)?;
        to.flush()
    }
}

fn at(time: Duration) -> Timestamp {
    Timestamp::from_nanos_since_reference(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

/// The name of a function, demangled if it is Rust's.
fn name(function: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(function))
}
