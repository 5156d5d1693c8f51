//! What all workers count together, in nginx's shared memory: `nffi_zone` makes the place for it, `nffi_status`
//! shows it. All of it runs on the event loop, or while the configuration is read.

mod slab;
mod status;
pub mod zone;

use std::{
    collections::HashSet,
    fmt,
    time::{Duration, Instant},
};

use nffi_core::dispatch::{Dispatch, State};
use nffi_metrics::{
    member::{Member, NoRoom},
    view::{Gauges, View},
    zone::{Crash, GAUGES, WorkerId, Zone},
};
use nginx_sys::{NGX_LOG_ALERT, NGX_LOG_WARN};

use self::slab::Slab;
pub use self::status::handle as status;
use crate::errlog;

/// Tasks of a worker that crashed which are named in the log; of the rest, how many.
const NAMED: usize = 20;

/// How long to leave it when there was no room.
const PATIENCE: Duration = Duration::from_secs(1);

/// The zone, and this worker's part of it.
pub struct Metrics {
    zone: Zone<Slab>,
    /// `None` while there is no room.
    member: Option<Member<Slab>>,
    /// Not before then is more room asked for.
    next_try: Instant,
    /// For whom there was no room, said once each: the worker is "".
    said: HashSet<String>,
}

impl Metrics {
    /// From now on this worker's tasks are counted, where there is a zone. Says which workers have crashed since
    /// somebody looked.
    pub fn start(dispatch: &mut Dispatch) -> Option<Self> {
        let zone = zone::open()?;
        for crash in zone.bury(WorkerId::is_alive) {
            say(&crash);
        }
        let mut metrics = Self { zone, member: None, next_try: Instant::now(), said: HashSet::new() };
        metrics.join(dispatch);
        Some(metrics)
    }

    /// Becomes one of those that count, unless it is already.
    fn join(&mut self, dispatch: &mut Dispatch) {
        if self.member.is_some() || Instant::now() < self.next_try {
            return;
        }
        self.member = Member::join(self.zone.clone(), WorkerId::own());
        match &self.member {
            Some(member) => {
                dispatch.measure_from_now();
                dispatch.mark_from_now(member.marks());
            }
            None => {
                let what = "which is not counted; make it larger";
                self.no_room("", format_args!("nffi_zone has no room for this worker, {what}"));
            }
        }
    }

    fn no_room(&mut self, name: &str, message: fmt::Arguments<'_>) {
        self.next_try = Instant::now() + PATIENCE;
        if self.said.insert(name.to_owned()) {
            errlog::cycle(NGX_LOG_WARN as _, message);
        }
    }

    /// Hands over what has come together. What there is no room for stays with the runtime meanwhile.
    pub fn report(&mut self, dispatch: &mut Dispatch) {
        self.join(dispatch);
        // All at once: one that has no room does not keep the next from being tried, and named.
        let patient = Instant::now() < self.next_try;
        for number in 0.. {
            let (Some(member), Some(entry)) = (&mut self.member, dispatch.entry(number)) else { break };
            let over = matches!(entry.state, State::Stopped | State::Failed(_)) && entry.in_flight == 0;
            if over && entry.meter == Default::default() {
                member.forget(number);
                continue;
            }
            if !member.holds(number) {
                if patient {
                    continue;
                }
                let name = entry.runtime.name.clone();
                match member.hold(number, &name) {
                    Ok(()) => {}
                    Err(NoRoom::Zone) => {
                        let what = "which is not counted in this worker; make it larger";
                        self.no_room(&name, format_args!("nffi_zone has no room for runtime \"{name}\", {what}"));
                        continue;
                    }
                    Err(NoRoom::Worker) => {
                        let what = format!("a worker counts {GAUGES} runtimes at a time");
                        self.no_room(&name, format_args!("{what}: \"{name}\" is not counted in this one"));
                        continue;
                    }
                }
            }
            let gauges = Gauges {
                queued: entry.runtime.queue.len() as u64,
                in_flight: entry.in_flight as u64,
                abandoned: entry.abandoned as u64,
            };
            let meter = dispatch.take_meter(number).unwrap_or_default();
            member.report(number, &meter, gauges);
        }
    }

    pub fn view(&self) -> View {
        self.zone.view(WorkerId::is_alive)
    }

    /// The worker ends as it should.
    pub fn leave(&mut self, dispatch: &mut Dispatch) {
        self.report(dispatch);
        if let Some(member) = &self.member {
            member.leave();
        }
    }
}

/// One line for the crash, and one for each task that was running, as far as they are worth it.
fn say(crash: &Crash) {
    let running = crash.tasks.iter().filter(|(_, task)| task.running).count();
    let Crash { pid, tasks } = crash;
    let queued = tasks.len() - running;
    errlog::cycle(
        NGX_LOG_ALERT as _,
        format_args!(
            "nffi: worker process {pid} ended without leaving; {running} of its tasks were running, {queued} waited"
        ),
    );
    for (name, task) in tasks.iter().filter(|(_, task)| task.running).take(NAMED) {
        let (trace, request) = (task.trace, task.request_id);
        errlog::cycle(
            NGX_LOG_ALERT as _,
            format_args!(
                "nffi runtime \"{name}\" was running a task of *{request} when process {pid} ended, trace: {trace:032x}"
            ),
        );
    }
    if running > NAMED {
        errlog::cycle(NGX_LOG_ALERT as _, format_args!("nffi: and {} tasks more", running - NAMED));
    }
}
