//! What is measured of a runtime's tasks: how they ended, how long they waited and ran, and how many
//! bytes they moved. Plain numbers of the event loop's; whoever shows them adds them up.

/// Upper bounds of a histogram's buckets, in ns; the last bucket has none.
pub const BOUNDS: [u64; 21] = {
    const US: u64 = 1_000;
    const MS: u64 = 1_000 * US;
    const S: u64 = 1_000 * MS;
    [
        10 * US,
        25 * US,
        50 * US,
        100 * US,
        250 * US,
        500 * US,
        MS,
        2_500 * US,
        5 * MS,
        10 * MS,
        25 * MS,
        50 * MS,
        100 * MS,
        250 * MS,
        500 * MS,
        S,
        2_500 * MS,
        5 * S,
        10 * S,
        30 * S,
        60 * S,
    ]
};

/// How often something took how long.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Histogram {
    /// By [`BOUNDS`], each without those below it.
    pub buckets: [u64; BOUNDS.len() + 1],
    /// Of all together, in ns.
    pub sum: u64,
}

impl Histogram {
    pub fn observe(&mut self, ns: u64) {
        // All of them at once: quicker than a search, whose branches nobody foresees.
        let below = BOUNDS.iter().filter(|bound| **bound < ns).count();
        self.buckets[below] += 1;
        self.sum += ns;
    }

    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// How a task ended, for whoever waited for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was answered.
    Ok,
    /// The runtime failed, or answered with a status of its own.
    Error,
    Timeout,
    /// The caller went before.
    Cancelled,
}

impl End {
    pub const ALL: [Self; 4] = [Self::Ok, Self::Error, Self::Timeout, Self::Cancelled];

    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
        }
    }
}

/// All that is measured of a runtime.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Meter {
    /// From the submission to the end, by how it ended; see [`of`](Self::of).
    pub durations: [Histogram; End::ALL.len()],
    /// From the submission until a thread of the runtime's took it, or until its caller went.
    pub queued: Histogram,
    /// From then until the event loop had the answer. Also of tasks whose callers have gone.
    pub run: Histogram,
    /// Submissions that were not taken: a full queue, a runtime that failed.
    pub rejected: u64,
    pub request_bytes: u64,
    pub response_bytes: u64,
    /// HTTP answers by the class of their status: 1xx to 5xx.
    pub http: [u64; 5],
}

/// A meter's numbers one after the other.
pub const WORDS: usize = size_of::<Meter>() / size_of::<u64>();

impl Meter {
    pub fn of(&self, end: End) -> &Histogram {
        &self.durations[end as usize]
    }

    /// Runs on: event loop. `polled` is 0 where no thread took the task. Times are in ns.
    pub(crate) fn ended(&mut self, end: End, submitted: u64, polled: u64, now: u64) {
        self.durations[end as usize].observe(now.saturating_sub(submitted));
        let until = if polled == 0 { now } else { polled };
        self.queued.observe(until.saturating_sub(submitted));
    }

    /// Runs on: event loop.
    pub(crate) fn ran(&mut self, polled: u64, now: u64) {
        if polled != 0 {
            self.run.observe(now.saturating_sub(polled));
        }
    }

    /// The numbers, to be added up with those of others.
    pub fn words(&self) -> &[u64; WORDS] {
        // SAFETY: repr(C), and made of nothing but u64.
        unsafe { &*(&raw const *self).cast() }
    }

    pub fn from_words(words: [u64; WORDS]) -> Self {
        // SAFETY: as in words(); any bits are a u64.
        unsafe { std::mem::transmute(words) }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let mut histogram = Histogram::default();
        for ns in [0, 10_000, 10_001, 25_000, 60_000_000_000, 60_000_000_001, u64::MAX / 2] {
            histogram.observe(ns);
        }
        assert_eq!((histogram.buckets[0], histogram.buckets[1], histogram.buckets[20]), (2, 2, 1));
        assert_eq!((histogram.buckets[21], histogram.count()), (2, 7));
    }

    #[test]
    fn words_are_all_of_it() {
        let mut meter = Meter { rejected: 7, response_bytes: 9, ..Meter::default() };
        meter.ended(End::Timeout, 5, 20_005, 30_005);
        meter.ended(End::Cancelled, 5, 0, 100);
        meter.ran(20_005, 30_005);
        meter.ran(0, 1);
        assert_eq!((meter.of(End::Timeout).sum, meter.queued.sum, meter.run.sum), (30_000, 20_095, 10_000));
        assert_eq!((meter.queued.count(), meter.run.count()), (2, 1));
        assert_eq!(Meter::from_words(*meter.words()), meter);
        assert_eq!(meter.words().iter().sum::<u64>(), 30_095 + 20_095 + 10_000 + 5 + 16);
    }
}
