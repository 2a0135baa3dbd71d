//! A chain of stages whose lanes share the batches.
//!
//! One lane at a time waits for input. It takes a batch, leaves the place to another lane if more
//! is waiting, and takes the batch through all stages of the chain, without a queue between them.
//! So one lane does all the work as long as it keeps up with the input, and no batch changes its
//! core. Another lane wakes when batches wait, and a new one is made when they keep waiting while
//! all lanes are busy.

mod lane;
mod output;

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

use crate::checkpoint::Reporter;
use crate::flow::inlet::{Event, Inlet};
use crate::flow::queue::{Outlet, StreamEnd};
use crate::flow::{TaskError, TaskResult};
use crate::run::Spawner;
use crate::task::overload::Overload;
use crate::task::resequencer::Resequencer;
pub(crate) use lane::{Lane, Link};
use output::{Done, Made, Output};
use pipehost_record::Batch;

/// What the lanes of a chain are made of.
pub(crate) struct ChainOptions {
    /// The name of its first stage.
    pub name: String,
    pub links: Arc<[Link]>,
    pub inlet: Inlet,
    /// By stage.
    pub outlets: Vec<Outlet>,
    pub reporters: Vec<Reporter>,
    pub finished: Vec<bool>,
    pub ordered: bool,
    /// The most lanes that it may have.
    pub most: usize,
    /// Whether lanes are made as soon as there is work for them, as the pipeline says how many
    /// there may be; otherwise, once those that there are do not keep up.
    pub eager: bool,
    /// How often the clock is looked at to move time, if it does.
    pub idle: Option<Duration>,
    pub spawner: Spawner,
}

/// A chain, as its lanes share it.
pub(crate) struct Chain {
    name: String,
    links: Arc<[Link]>,
    ordered: bool,
    most: usize,
    eager: bool,
    idle: Option<Duration>,
    spawner: Spawner,
    inlet: AsyncMutex<Inlet>,
    /// Number of the next event.
    next: AtomicU64,
    /// Places of events in flight. They also bound what waits for earlier events.
    places: Arc<Semaphore>,
    window: u32,
    crew: Mutex<Crew>,
    /// One permit for each lane that was woken: none is lost if the lane does not wait yet.
    wake: Semaphore,
    waiting: Mutex<Waiting>,
    output: AsyncMutex<Output>,
}

/// The lanes that there are, and what they do.
struct Crew {
    made: usize,
    /// Lanes that sleep, and that nobody has woken.
    asleep: usize,
    /// Whether a lane waits for input.
    is_taking: bool,
    overload: Overload,
    /// How the input has ended; then each lane finishes.
    close: Option<StreamEnd>,
    ended: usize,
}

/// Results that wait to be sent.
struct Waiting {
    resequencer: Resequencer<Done>,
    /// Whether a lane is sending: it then also sends what others add.
    is_sending: bool,
}

/// What a lane has taken from the input.
enum Taken {
    Batch(u64, Batch, OwnedSemaphorePermit),
    /// A watermark or a barrier: already sent on.
    Nothing,
    /// The input has ended.
    End,
}

impl Chain {
    pub(crate) fn new(options: ChainOptions) -> Self {
        let ChainOptions { name, links, inlet, outlets, reporters, finished, .. } = options;
        let ChainOptions { ordered, most, eager, idle, spawner, .. } = options;
        // One batch each in process, and as many finished ones that wait for an earlier one.
        let window = 2 * most as u32;
        let metrics = links[0].rejections.metrics.clone();
        Self {
            name,
            links,
            ordered,
            most,
            eager,
            idle,
            spawner,
            inlet: AsyncMutex::new(inlet),
            next: AtomicU64::new(0),
            places: Arc::new(Semaphore::new(window as usize)),
            window,
            crew: Mutex::new(Crew {
                made: 1,
                asleep: 0,
                is_taking: false,
                overload: Overload::default(),
                close: None,
                ended: 0,
            }),
            wake: Semaphore::new(0),
            waiting: Mutex::new(Waiting { resequencer: Resequencer::default(), is_sending: false }),
            output: AsyncMutex::new(Output {
                outlets,
                reporters,
                finished,
                metrics,
                times: BTreeMap::new(),
            }),
        }
    }

    /// Runs a lane until the input has ended.
    pub(crate) async fn run(self: Arc<Self>, mut lane: Lane) -> TaskResult {
        if lane.number == 0 {
            self.output.lock().await.begin().await?;
        }
        loop {
            if let Some(close) = self.turn().await {
                return self.end(&mut lane, close).await;
            }
            let Some(taken) = self.take().await? else { continue };
            let (number, batch, place) = taken;
            let start = Instant::now();
            let leaving = lane.process(batch).await?;
            let worked = start.elapsed();
            let done = Done { number, made: Made::Answer(leaving), _place: place };
            self.deliver(done).await?;
            self.crew().overload.spent(worked, start.elapsed().saturating_sub(worked));
        }
    }

    fn crew(&self) -> MutexGuard<'_, Crew> {
        self.crew.lock().expect("nobody panics with the crew in hand")
    }

    /// Sleeps until it is this lane's turn to wait for input; returns how the input has ended, if
    /// it has.
    async fn turn(&self) -> Option<StreamEnd> {
        loop {
            {
                let mut crew = self.crew();
                if crew.close.is_some() {
                    return crew.close;
                }
                if !crew.is_taking {
                    crew.is_taking = true;
                    return None;
                }
                crew.asleep += 1;
            }
            self.wake.acquire().await.expect("the semaphore is never closed").forget();
        }
    }

    /// Takes the next event. Returns it if it is a batch; deals with it if not.
    async fn take(
        self: &Arc<Self>,
    ) -> Result<Option<(u64, Batch, OwnedSemaphorePermit)>, TaskError> {
        let mut inlet = self.inlet.lock().await;
        let mut place = self.places(1).await;
        let event = loop {
            tokio::select! {
                biased;
                event = inlet.next() => break event?,
                () = self.is_idle(), if self.idle.is_some() => {
                    self.output.lock().await.idle().await?;
                }
            }
        };
        let taken = match event {
            Event::Batch(batch) => {
                Taken::Batch(self.next.fetch_add(1, Ordering::Relaxed), batch, place)
            }
            Event::Watermark(watermark) => {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                let made = Made::Watermark(watermark);
                self.deliver(Done { number, made, _place: place }).await?;
                Taken::Nothing
            }
            Event::Barrier(number) => {
                // What is in flight belongs to the checkpoint, and what comes later does not.
                place.merge(self.places(self.window - 1).await);
                self.output.lock().await.barrier(number).await?;
                Taken::Nothing
            }
            Event::End(close) => {
                place.merge(self.places(self.window - 1).await);
                self.crew().close = Some(close);
                Taken::End
            }
        };
        self.leave(inlet.has_more());
        Ok(match taken {
            Taken::Batch(number, batch, place) => Some((number, batch, place)),
            Taken::Nothing | Taken::End => None,
        })
    }

    async fn places(&self, count: u32) -> OwnedSemaphorePermit {
        let places = self.places.clone().acquire_many_owned(count).await;
        places.expect("the semaphore is never closed")
    }

    /// Waits until the clock moves the watermark.
    async fn is_idle(&self) {
        let look = self.idle.unwrap_or_default().max(Duration::from_millis(1));
        loop {
            let due = self.output.lock().await.idle_at();
            match due {
                Some(due) if due <= Instant::now() => return,
                Some(due) => sleep_until(due).await,
                None => sleep_until(Instant::now() + look).await,
            }
        }
    }

    /// Leaves the place at the input. Another lane takes it if there is more.
    fn leave(self: &Arc<Self>, has_more: bool) {
        let mut crew = self.crew();
        crew.is_taking = false;
        if crew.close.is_some() {
            self.wake.add_permits(std::mem::take(&mut crew.asleep));
            return;
        }
        if crew.asleep > 0 {
            if has_more || self.eager {
                crew.asleep -= 1;
                self.wake.add_permits(1);
                let_others_take();
            }
            return;
        }
        let is_overloaded = crew.overload.is(has_more);
        if crew.made < self.most && (is_overloaded || self.eager) {
            let number = crew.made;
            crew.made += 1;
            let chain = self.clone();
            let lane: Pin<Box<dyn Future<Output = TaskResult> + Send>> = Box::pin(async move {
                let lane = Lane::start(number, chain.links.clone()).await;
                chain.run(lane.map_err(TaskError::Failed)?).await
            });
            self.spawner.spawn(&self.name, lane);
            let_others_take();
        }
    }

    /// Sends a result on, and those that others have left meanwhile, in order.
    async fn deliver(&self, done: Done) -> TaskResult {
        let waiting = || self.waiting.lock().expect("nobody panics with it in hand");
        {
            let mut waiting = waiting();
            let ahead = !self.ordered && matches!(done.made, Made::Answer(_));
            waiting.resequencer.add(done.number, 1, done, ahead);
            if std::mem::replace(&mut waiting.is_sending, true) {
                return Ok(());
            }
        }
        let mut output = self.output.lock().await;
        loop {
            let (next, position) = {
                let mut waiting = waiting();
                let next = waiting.resequencer.next();
                waiting.is_sending = next.is_some();
                (next, waiting.resequencer.position())
            };
            match next {
                Some(next) => output.send(next).await?,
                None => return output.reach(position).await,
            }
        }
    }

    /// After the last batch: a lane finishes, and the last one ends the chain.
    async fn end(&self, lane: &mut Lane, close: StreamEnd) -> TaskResult {
        let mut output = self.output.lock().await;
        let is_suspended = output.reporters[0].suspension().has_begun();
        // What cannot be saved is emitted.
        let ends = |link: &Link| {
            close == StreamEnd::Finished || (is_suspended && link.runner.keeps_unsaved())
        };
        let finishes: Vec<bool> = (self.links.iter().zip(&output.finished))
            .map(|(link, finished)| ends(link) && !finished)
            .collect();
        if finishes.contains(&true) && (lane.was_used || lane.number == 0) {
            let leaving = lane.finish(&finishes).await?;
            let finished = output.finished.clone();
            output.send_all(leaving).await?;
            output.finished = finished;
        }
        let is_last = {
            let mut crew = self.crew();
            crew.ended += 1;
            crew.ended == crew.made
        };
        if is_last { output.end(close).await } else { Ok(()) }
    }
}

/// Lets the other threads take the task that was woken last. The scheduler keeps it for this
/// thread, which is about to process a batch. A task that does nothing takes its place.
fn let_others_take() {
    tokio::spawn(async {});
}
