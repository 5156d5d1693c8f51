//! The way back: what runtimes have done since the event loop looked last.

use std::sync::Arc;

use super::{Dispatch, Mark, NOBODY, News, Outcome};
use crate::{
    buf::Buf,
    done::{self, BULLETIN},
    http::{Http, HttpEnd},
    log::{self, Line},
    meter::End,
    pipe::{Piece, Pieces},
    queue::Clock,
    slot::Answer,
    word::{self, NEWS, OVERFLOW, has_ended},
};

impl Dispatch {
    /// Takes all that has come back since the last time, and puts what owners must know into
    /// `news`, oldest first. Log lines wait for [`next_line`](Self::next_line) then.
    pub fn drain(&mut self, news: &mut Vec<News>) {
        let mut slots = std::mem::take(&mut self.slots);
        done::take(&self.host.done, &self.host.table, &mut slots);
        // Before the tasks: a line may belong to one of those that have just ended.
        self.take_lines();
        let mut bulletin = false;
        let mut clock = Clock::default();
        for number in slots.drain(..) {
            if number == BULLETIN {
                if let Some(slot) = self.host.table.get(BULLETIN) {
                    slot.word.clear(NEWS);
                }
                bulletin = true;
            } else {
                self.look_at_task(number, &mut clock, news);
            }
        }
        self.slots = slots;
        // After the tasks: what a runtime answered before it stopped counts.
        if bulletin {
            self.look_at_runtimes(news);
        }
        if !self.host.log.is_empty() && self.lines.len() < log::CAPACITY {
            self.host.bulletin();
        }
    }

    /// A queue full of lines at most, so that a flood does not keep the event loop from its work.
    fn take_lines(&mut self) {
        while self.lines.len() < log::CAPACITY
            && let Some(line) = self.host.log.pop()
        {
            let mark = match self.host.table.resolve(line.task) {
                Some((slot, number, generation)) if slot.word.generation() == generation => {
                    let task = self.tasks.get(number as usize);
                    task.map_or_else(Mark::default, |task| Mark { request_id: task.request_id, trace: task.trace })
                }
                _ => Mark::default(),
            };
            self.lines.push_back((line, mark));
        }
    }

    fn look_at_task(&mut self, slot_number: u32, clock: &mut Clock, news: &mut Vec<News>) {
        let Some(slot) = self.host.table.get(slot_number) else { return };
        // Cleared first: what comes after this puts the slot on the list again.
        let flags = slot.word.clear(NEWS);
        let number = slot.runtime();
        let owner = self.tasks[slot_number as usize].owner;
        if has_ended(flags) {
            // SAFETY: ENDED, and taken off the done list just now.
            let (answer, pieces, http) = unsafe { slot.empty() };
            let polled = slot.polled();
            let usable = slot.word.release();
            let entry = &mut self.runtimes[number as usize];
            entry.stats.answers += 1;
            if answer.status != 0 {
                entry.stats.errors += 1;
            }
            let good = answer.status == 0 && flags & OVERFLOW == 0;
            let now = if self.measures() || http.is_some() { clock.now() } else { 0 };
            let outcome = (owner != NOBODY).then(|| match http {
                _ if flags & OVERFLOW != 0 => Outcome::TooLarge,
                Some(http) => {
                    let Answer { status, data } = answer;
                    let Http { head, trailers, .. } = *http;
                    Outcome::Http(HttpEnd { status, data, head, trailers, pieces, polled, over: now })
                }
                None if self.tasks[slot_number as usize].stream => {
                    // Whoever receives the rest does it when the task is forgotten.
                    let rest = pieces.map_or(0, |pieces| pieces.answer.bytes());
                    self.runtimes[number as usize].meter.response_bytes += rest as u64;
                    self.outcome(number, answer, None)
                }
                None => self.outcome(number, answer, pieces),
            });
            if self.measures() {
                let end = match &outcome {
                    // Its host does it, who sees what comes of it: judge().
                    Some(Outcome::Http(_)) => None,
                    Some(Outcome::Answer(answer)) => Some(answer.status == 0),
                    Some(_) => Some(false),
                    None => Some(good),
                };
                if let Some(good) = end {
                    self.measure(slot_number, number, if good { End::Ok } else { End::Error }, polled, now);
                }
                self.runtimes[number as usize].meter.ran(polled, now);
            }
            if let Some(outcome) = outcome {
                news.push(News::Ended { owner, outcome });
            }
            self.retire(slot_number, usable, number);
        } else if owner != NOBODY {
            if flags & OVERFLOW != 0 {
                let task = word::handle(slot.word.generation(), slot_number);
                self.cancel_as(task, End::Error);
                news.push(News::Ended { owner, outcome: Outcome::TooLarge });
            } else {
                news.push(News::Pieces { owner });
            }
        }
    }

    /// Makes one answer of gathered pieces and the last word.
    fn outcome(&mut self, number: u32, answer: Answer, pieces: Option<Arc<Pieces>>) -> Outcome {
        let entry = &mut self.runtimes[number as usize];
        let limit = entry.runtime.settings.max_response;
        let mut all = Vec::new();
        if answer.status == 0
            && let Some(pieces) = pieces
        {
            while let Some((piece, _)) = pieces.answer.pop() {
                if let Piece::Data(data) = piece {
                    all.push(data);
                }
            }
        }
        let Answer { status, data } = answer;
        let len = all.iter().map(Buf::len).sum::<usize>() + data.len();
        entry.meter.response_bytes += len as u64;
        if len > limit {
            return Outcome::TooLarge;
        }
        if all.is_empty() {
            return Outcome::Answer(Answer { status, data });
        }
        all.push(data);
        match Buf::concat(&all) {
            Some(data) => Outcome::Answer(Answer { status, data }),
            None => Outcome::NoMemory,
        }
    }

    /// The next log line that [`drain`](Self::drain) has taken, with the mark of its task (all 0
    /// where the task had ended before, or the line has none).
    pub fn next_line(&mut self) -> Option<(Line, Mark)> {
        self.lines.pop_front()
    }
}
