//! What all workers count together, in nginx's shared memory: `nffi_zone` makes the place for it, `nffi_status`
//! shows it. All of it runs on the event loop, or while the configuration is read.

mod slab;
mod status;
pub mod zone;

use std::collections::HashSet;

use nffi_core::dispatch::{Dispatch, State};
use nffi_metrics::{
    member::Member,
    view::{Gauges, View},
    zone::{Crash, GAUGES, WorkerId},
};
use nginx_sys::{NGX_LOG_ALERT, NGX_LOG_WARN};

use self::slab::Slab;
pub use self::status::handle as status;
use crate::errlog;

/// Tasks of a worker that crashed which are named in the log; of the rest, how many.
const NAMED: usize = 20;

/// This worker's part of the zone.
pub struct Metrics {
    member: Member<Slab>,
    /// Runtimes for which there was no room, said once each.
    unheld: HashSet<u32>,
}

impl Metrics {
    /// From now on this worker's tasks are counted, where there is a zone. Says which workers have crashed since
    /// somebody looked.
    pub fn start(dispatch: &mut Dispatch) -> Option<Self> {
        let zone = zone::open()?;
        for crash in zone.bury(WorkerId::is_alive) {
            say(&crash);
        }
        let Some(member) = Member::join(zone, WorkerId::own()) else {
            errlog::cycle(
                NGX_LOG_WARN as _,
                format_args!("nffi_zone has no room for this worker, which is not counted; make it larger"),
            );
            return None;
        };
        dispatch.measure_from_now(member.marks());
        Some(Self { member, unheld: HashSet::new() })
    }

    /// Hands over what has come together.
    pub fn report(&mut self, dispatch: &mut Dispatch) {
        for number in 0.. {
            let Some(entry) = dispatch.entry(number) else { break };
            let gauges = Gauges {
                queued: entry.runtime.queue.len() as u64,
                in_flight: entry.in_flight as u64,
                abandoned: entry.abandoned as u64,
            };
            let name = entry.runtime.name.clone();
            let over = entry.state == State::Stopped && entry.in_flight == 0;
            let Some(meter) = dispatch.take_meter(number) else { break };
            if over && meter == Default::default() {
                self.member.forget(number);
            } else if !self.unheld.contains(&number) && !self.member.report(number, &name, &meter, gauges) {
                self.unheld.insert(number);
                errlog::cycle(
                    NGX_LOG_WARN as _,
                    format_args!(
                        "nffi_zone has no room for runtime \"{name}\", which is not counted in this worker; make it larger \
                         (at most {GAUGES} runtimes of a worker are counted at a time)"
                    ),
                );
            }
        }
    }

    pub fn view(&self) -> View {
        self.member.zone.view(WorkerId::is_alive)
    }

    /// The worker ends as it should.
    pub fn leave(&mut self, dispatch: &mut Dispatch) {
        self.report(dispatch);
        self.member.leave();
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
