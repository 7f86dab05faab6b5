//! One turn of one contestant: the figures of a measurement's rows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::common::cloud::{Cloud, Kind};
use super::contestants::{Contestant, Running, World};
use super::load::{Crowd, Keep, PATIENCE, Target, Until};
use super::rows::{BURST, Measurement, Work, pace};
use super::upstream::{Ask, Way};

/// A figure for each row of the measurement; none where the contestant has none.
pub(crate) type Figures = Result<Vec<Option<f64>>, String>;

/// How much is done for a figure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    pub(crate) turn: Duration,
    pub(crate) quick: bool,
}

/// Contestants that go on from one turn to the next.
pub(crate) struct Field<'w> {
    world: &'w World,
    effort: Effort,
    running: BTreeMap<(String, Way), Running>,
}

impl<'w> Field<'w> {
    pub(crate) fn new(world: &'w World, effort: Effort) -> Self {
        let running = BTreeMap::new();
        Self {
            world,
            effort,
            running,
        }
    }

    /// Ends those of the last measurement, so that idle ones cost no turn anything.
    pub(crate) fn clear(&mut self) {
        self.running.clear();
    }

    pub(crate) async fn turn(&mut self, contestant: &Contestant, what: &Measurement) -> Figures {
        match what.work {
            Work::Chats { clients } => {
                let until = self.until(1000.max(4 * clients));
                self.cpu(
                    contestant,
                    what.way,
                    Job::new(Ask::Chat, Keep::Kept(clients), until),
                )
                .await
            }
            Work::Burst => {
                let job = Job::new(Ask::Burst(BURST), Keep::Kept(1), self.until(20));
                self.cpu(contestant, what.way, job).await
            }
            Work::Body(size) => {
                let mut job = Job::new(Ask::Chat, Keep::Kept(1), self.until(20));
                job.size = size;
                self.cpu(contestant, what.way, job).await
            }
            Work::Connect => {
                let job = Job::new(Ask::Chat, Keep::New, self.until(500));
                self.cpu(contestant, what.way, job).await
            }
            Work::FirstByte => self.first_byte(contestant, what.way).await,
            Work::FarWarm => self.far_warm(contestant).await,
            Work::FarCold => self.far_cold(contestant).await,
            Work::Streams(count) => self.streams(contestant, what.way, count).await,
            Work::Idle => {
                let running = contestant.start(self.world, what.way).await?;
                sleep(Duration::from_millis(500)).await;
                Ok(vec![running.resident().map(|bytes| float(bytes) / 1e6)])
            }
            Work::Ready => self.ready(contestant).await,
            Work::Portal => self.portal(contestant).await,
            Work::Size => Ok(vec![contestant.size().map(|bytes| float(bytes) / 1e6)]),
        }
    }

    fn until(&self, least: usize) -> Until {
        let least = if self.effort.quick { least / 4 } else { least };
        let time = self.effort.turn;
        Until { time, least }
    }

    async fn running(&mut self, contestant: &Contestant, way: Way) -> Result<&Running, String> {
        let key = (contestant.name.clone(), way);
        if !self.running.contains_key(&key) {
            let running = contestant.start(self.world, way).await?;
            self.running.insert(key.clone(), running);
        }
        self.running.get(&key).ok_or_else(String::new)
    }

    /// Microseconds of CPU for each request; milliseconds where one has 4 MiB.
    async fn cpu(&mut self, contestant: &Contestant, way: Way, job: Job) -> Figures {
        let world = self.world;
        let running = self.running(contestant, way).await?;
        let mut crowd = Crowd::new(running.target.clone(), job.keep);
        let request = running.target.request(job.ask, job.size);
        // As many at once as later, so that all connections are there.
        let warm = Until {
            time: job.until.time / 5,
            least: job.until.least / 4,
        };
        crowd.run(&request, warm).await.map_err(told)?;
        let before = running.cpu(world)?;
        let turn = crowd.run(&request, job.until).await.map_err(told)?;
        let used = running.cpu(world)?.saturating_sub(before);
        let unit = if job.size > 1 << 20 { 1e3 } else { 1e6 };
        let requests = float(turn.first_bytes.len() as u64);
        Ok(vec![Some(used.as_secs_f64() * unit / requests)])
    }

    async fn first_byte(&mut self, contestant: &Contestant, way: Way) -> Figures {
        let until = self.until(300);
        let running = self.running(contestant, way).await?;
        let mut crowd = Crowd::new(running.target.clone(), Keep::Kept(1));
        let request = running.target.request(Ask::Burst(3), 0);
        let warm = Until {
            time: until.time / 5,
            least: 50,
        };
        crowd.run(&request, warm).await.map_err(told)?;
        let turn = crowd.run(&request, until).await.map_err(told)?;
        Ok(vec![Some(median(turn.first_bytes).as_secs_f64() * 1e6)])
    }

    async fn far_warm(&mut self, contestant: &Contestant) -> Figures {
        let running = self.running(contestant, Way::Far).await?;
        let mut crowd = Crowd::new(running.target.clone(), Keep::Kept(1));
        let request = running.target.request(Ask::Burst(1), 0);
        let some = |least| Until {
            time: Duration::ZERO,
            least,
        };
        crowd.run(&request, some(2)).await.map_err(told)?;
        let turn = crowd.run(&request, some(10)).await.map_err(told)?;
        Ok(vec![Some(median(turn.first_bytes).as_secs_f64() * 1e3)])
    }

    async fn far_cold(&mut self, contestant: &Contestant) -> Figures {
        let running = contestant.start(self.world, Way::Far).await?;
        // Who opens connections ahead of need has had time to.
        sleep(Duration::from_secs(1)).await;
        let request = running.target.request(Ask::Burst(1), 0);
        let started = Instant::now();
        let mut connection = running.target.connect().await.map_err(told)?;
        connection.begin(&request).await.map_err(told)?;
        Ok(vec![Some(started.elapsed().as_secs_f64() * 1e3)])
    }

    async fn ready(&mut self, contestant: &Contestant) -> Figures {
        if contestant.size().is_none() {
            return Ok(vec![None]);
        }
        let started = Instant::now();
        let running = contestant.start(self.world, Way::Plain).await?;
        let request = running.target.request(Ask::Chat, 0);
        while started.elapsed() < PATIENCE {
            if let Ok(mut connection) = running.target.connect().await
                && connection.ask(&request).await.is_ok()
            {
                return Ok(vec![Some(started.elapsed().as_secs_f64() * 1e3)]);
            }
            sleep(Duration::from_millis(1)).await;
        }
        Err("never answers".to_owned())
    }

    /// The slowest of the requests of two seconds, in which a refresh waits.
    async fn portal(&mut self, contestant: &Contestant) -> Figures {
        if !contestant.logs_in() {
            return Ok(vec![None]);
        }
        let mut cloud = Cloud::start(Kind::Due);
        // Like a stopped job: connections are accepted, and wait.
        let portal = Pid::from_child(cloud.process.child());
        kill_process(portal, Signal::STOP).map_err(|error| error.to_string())?;
        let running = contestant
            .start_with(self.world, Way::Plain, &cloud)
            .await?;
        let request = running.target.request(Ask::Chat, 0);
        let mut crowd = Crowd::new(running.target.clone(), Keep::Kept(1));
        let until = Until {
            time: Duration::from_secs(2),
            least: 1,
        };
        let turn = crowd.run(&request, until).await.map_err(told)?;
        let slowest = turn.first_bytes.into_iter().max().unwrap_or_default();
        Ok(vec![Some(slowest.as_secs_f64() * 1e3)])
    }

    /// Microseconds of CPU for each event, and KiB for each stream.
    async fn streams(&mut self, contestant: &Contestant, way: Way, count: usize) -> Figures {
        let count = if self.effort.quick { count / 5 } else { count };
        let running = contestant.start(self.world, way).await?;
        // What the first request sets up is no stream's.
        let mut first = running.target.connect().await.map_err(told)?;
        let whole = running.target.request(Ask::Chat, 0);
        first.ask(&whole).await.map_err(told)?;
        let before = running.resident();

        let mut streams = Streams::open(&running.target, count).await?;
        sleep(self.effort.turn).await;
        let (seen, used) = (streams.seen(), running.cpu(self.world)?);
        sleep(2 * self.effort.turn).await;
        let used = running.cpu(self.world)?.saturating_sub(used);
        let seen = streams.seen() - seen;
        let after = running.resident();
        if let Some(error) = streams.ended() {
            return Err(error);
        }
        let each = before.zip(after).map(|(before, after)| {
            float(after.saturating_sub(before)) / 1024.0 / float(count as u64)
        });
        Ok(vec![
            Some(used.as_secs_f64() * 1e6 / float(seen.max(1) as u64)),
            each,
        ])
    }
}

/// Requests that are all alike.
#[derive(Debug, Clone, Copy)]
struct Job {
    ask: Ask,
    keep: Keep,
    size: usize,
    until: Until,
}

impl Job {
    fn new(ask: Ask, keep: Keep, until: Until) -> Self {
        Self {
            ask,
            keep,
            size: 0,
            until,
        }
    }
}

/// Streams that are open, each read by a task of its own.
struct Streams {
    readers: JoinSet<String>,
    events: Arc<AtomicUsize>,
}

impl Streams {
    /// So many are opened at once.
    const AT_ONCE: usize = 32;

    /// All of them have begun when this returns.
    async fn open(target: &Target, count: usize) -> Result<Self, String> {
        let events = Arc::new(AtomicUsize::new(0));
        let places = Arc::new(Semaphore::new(Self::AT_ONCE));
        let begun = Arc::new(Semaphore::new(0));
        let request = target.request(Ask::Paced(pace(count)), 0);
        let mut readers = JoinSet::new();
        for _ in 0..count {
            let (target, request, events) = (target.clone(), request.clone(), events.clone());
            let (places, begun) = (places.clone(), begun.clone());
            readers.spawn(async move {
                let work = async {
                    let place = places.acquire().await.map_err(std::io::Error::other)?;
                    let mut stream = target.connect().await?;
                    stream.begin(&request).await?;
                    drop(place);
                    begun.add_permits(1);
                    loop {
                        let seen = stream.events().await?;
                        events.fetch_add(seen, Ordering::Relaxed);
                    }
                };
                let ended: std::io::Result<()> = work.await;
                ended.err().map(told).unwrap_or_default()
            });
        }
        let all = begun.acquire_many(u32::try_from(count).unwrap_or(u32::MAX));
        let patience = 3 * PATIENCE;
        tokio::select! {
            ended = readers.join_next() => Err(ended.and_then(Result::ok).unwrap_or_default()),
            all = timeout(patience, all) => match all {
                Ok(_) => Ok(Self { readers, events }),
                Err(_) => Err(format!("{count} streams are not open after {patience:?}")),
            },
        }
    }

    fn seen(&self) -> usize {
        self.events.load(Ordering::Relaxed)
    }

    /// Why a stream has ended, which none should.
    fn ended(&mut self) -> Option<String> {
        self.readers.try_join_next()?.ok()
    }
}

#[expect(clippy::needless_pass_by_value, reason = "maps errors")]
fn told(error: std::io::Error) -> String {
    if error.kind() == std::io::ErrorKind::TimedOut {
        return format!("no answer in {} s", PATIENCE.as_secs());
    }
    error.to_string()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "counts of one machine")]
pub(crate) fn float(number: u64) -> f64 {
    number as f64
}
