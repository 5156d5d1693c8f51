//! A zone in ordinary memory, used by several "workers" of this process.

#![allow(clippy::expect_used, missing_docs)]

use std::{
    alloc::{Layout, alloc_zeroed, dealloc},
    cell::Cell,
    collections::HashMap,
    ptr::NonNull,
    rc::Rc,
};

use nffi_core::meter::{End, Meter};
use nffi_metrics::{
    member::{Member, NoRoom},
    render::Format,
    view::Gauges,
    zone::{GAUGES, MARKS, Memory, OtherVersion, WorkerId, Zone},
};

/// So many bytes of memory, and a lock that must be held.
#[derive(Clone, Default)]
struct Heap(Rc<HeapState>);

#[derive(Default)]
struct HeapState {
    left: Cell<usize>,
    locked: Cell<bool>,
    sizes: std::cell::RefCell<HashMap<usize, usize>>,
}

impl Heap {
    fn of(bytes: usize) -> Self {
        let heap = Self::default();
        heap.0.left.set(bytes);
        heap
    }
}

impl Memory for Heap {
    fn alloc(&self, size: usize) -> Option<NonNull<u8>> {
        assert!(self.0.locked.get(), "the lock is held");
        self.0.left.set(self.0.left.get().checked_sub(size)?);
        // SAFETY: no layout here is of no bytes.
        let at = NonNull::new(unsafe { alloc_zeroed(Layout::from_size_align(size, 8).expect("a layout")) })?;
        self.0.sizes.borrow_mut().insert(at.as_ptr() as usize, size);
        Some(at)
    }

    unsafe fn free(&self, at: NonNull<u8>) {
        assert!(self.0.locked.get(), "the lock is held");
        let size = self.0.sizes.borrow_mut().remove(&(at.as_ptr() as usize)).expect("ours");
        self.0.left.set(self.0.left.get() + size);
        // SAFETY: made above, with the same layout.
        unsafe { dealloc(at.as_ptr(), Layout::from_size_align(size, 8).expect("a layout")) };
    }

    fn lock(&self) {
        assert!(!self.0.locked.replace(true), "locked twice");
    }

    fn unlock(&self) {
        assert!(self.0.locked.replace(false), "not locked");
    }
}

impl Drop for HeapState {
    fn drop(&mut self) {
        for (at, size) in self.sizes.borrow_mut().drain() {
            // SAFETY: as in free().
            unsafe { dealloc(at as *mut u8, Layout::from_size_align(size, 8).expect("a layout")) };
        }
    }
}

const LARGE: usize = 1 << 20;

fn id(pid: i32) -> WorkerId {
    WorkerId { pid, started: 1 }
}

fn join(heap: &Heap, zone: &Zone<Heap>, pid: i32) -> Member<Heap> {
    // SAFETY: the header of a zone in that memory.
    let zone = unsafe { Zone::at(heap.clone(), zone.header()) }.expect("this version");
    Member::join(zone, id(pid)).expect("room")
}

fn measured(ends: &[(End, u64)]) -> Meter {
    let mut meter = Meter { request_bytes: 10, ..Meter::default() };
    for (end, ns) in ends {
        meter.durations[*end as usize].observe(*ns);
    }
    meter
}

/// Reports of a runtime that may be held; true where it is.
fn report(member: &mut Member<Heap>, number: u32, name: &str, meter: &Meter, now: Gauges) -> bool {
    let held = member.hold(number, name).is_ok();
    member.report(number, meter, now);
    held
}

fn now(queued: u64, in_flight: u64) -> Gauges {
    Gauges { queued, in_flight, abandoned: 0 }
}

#[test]
fn workers_add_up_and_gauges_are_their_own() {
    let heap = Heap::of(LARGE);
    let zone = Zone::create(heap.clone()).expect("room");
    let (mut a, mut b) = (join(&heap, &zone, 1), join(&heap, &zone, 2));
    assert!(report(&mut a, 0, "x", &measured(&[(End::Ok, 5), (End::Error, 7)]), now(1, 3)));
    assert!(report(&mut a, 1, "y", &Meter::default(), now(0, 0)));
    // Another worker may know it by another number.
    assert!(report(&mut b, 7, "x", &measured(&[(End::Ok, 20_000)]), now(4, 4)));
    assert!(report(&mut b, 7, "x", &measured(&[(End::Ok, 20_000)]), now(0, 2)));
    let view = zone.view(|_| true);
    assert_eq!((view.workers, view.crashes), (vec![1, 2], 0));
    let [x, y] = &view.runtimes[..] else { panic!("not two") };
    assert_eq!((x.name.as_str(), y.name.as_str()), ("x", "y"));
    assert_eq!((x.meter.of(End::Ok).count(), x.meter.of(End::Error).sum), (3, 7));
    assert_eq!((x.meter.of(End::Ok).buckets[0], x.meter.of(End::Ok).buckets[1]), (1, 2));
    assert_eq!((x.meter.request_bytes, x.workers.as_slice()), (30, &[(2, now(0, 2)), (1, now(1, 3))][..]));
    assert_eq!((x.gauges().queued, x.gauges().running(), y.meter), (1, 4, Meter::default()));
    // One of them is dead: its gauges are gone, what it counted stays.
    let view = zone.view(|id| id.pid == 2);
    assert_eq!((view.runtimes[0].workers.len(), view.runtimes[0].meter.request_bytes), (1, 30));
    // A runtime that is over, and comes again under another number.
    b.forget(7);
    assert!(report(&mut b, 8, "x", &Meter::default(), now(1, 1)));
    assert_eq!(zone.view(|id| id.pid == 2).runtimes[0].workers, [(2, now(1, 1))]);
}

#[test]
fn a_worker_that_is_gone_is_buried_once() {
    let heap = Heap::of(LARGE);
    let zone = Zone::create(heap.clone()).expect("room");
    let (mut a, b) = (join(&heap, &zone, 1), join(&heap, &zone, 2));
    report(&mut a, 3, "x", &measured(&[(End::Ok, 5)]), now(1, 2));
    assert_eq!(a.marks().len(), MARKS);
    b.leave();
    assert_eq!(zone.bury(|_| true), []);
    let before = heap.0.left.get();
    let crashes = zone.bury(|_| false);
    assert_eq!((crashes.len(), crashes[0].pid, crashes[0].tasks.len()), (1, 1, 0));
    assert!(heap.0.left.get() > before, "its memory is free");
    assert_eq!(zone.bury(|_| false), []);
    let view = zone.view(|_| true);
    assert_eq!((view.crashes, view.runtimes[0].restarts, view.workers.len()), (1, 1, 0));
}

#[test]
fn old_runtimes_make_room_for_new_ones() {
    let heap = Heap::of(40_000);
    let zone = Zone::create(heap.clone()).expect("room");
    let mut a = join(&heap, &zone, 1);
    let mut n = 0;
    while report(&mut a, n, &format!("r{n}"), &measured(&[(End::Ok, 5)]), now(0, 0)) {
        n += 1;
    }
    assert!((3..GAUGES as u32).contains(&n), "{n}");
    assert_eq!(zone.view(|_| true).runtimes.len(), n as usize, "those in use stay");
    a.forget(1);
    a.forget(0);
    assert_eq!(zone.view(|_| true).runtimes.len(), n as usize, "there is no need for room yet");
    assert!(report(&mut a, n, "new", &Meter::default(), now(0, 0)));
    let names: Vec<_> = zone.view(|_| true).runtimes.into_iter().map(|r| r.name).collect();
    assert!(!names.contains(&"r0".to_owned()), "the longest unused: {names:?}");
    assert!(names.contains(&"r1".to_owned()) && names.contains(&"new".to_owned()));
    assert!(report(&mut a, n + 1, "r1", &measured(&[(End::Ok, 5)]), now(0, 0)));
    let view = zone.view(|_| true);
    assert_eq!(view.runtimes.iter().find(|r| r.name == "r1").expect("it").meter.of(End::Ok).count(), 2);
}

#[test]
fn another_version_is_left_alone() {
    let heap = Heap::of(LARGE);
    let zone = Zone::create(heap.clone()).expect("room");
    // SAFETY: a header begins with its magic number.
    unsafe { *zone.header().as_ptr().cast::<u64>() += 1 };
    // SAFETY: a header of that memory, of another version.
    assert!(matches!(unsafe { Zone::at(heap.clone(), zone.header()) }, Err(OtherVersion)));
}

#[test]
fn this_process_is_alive() {
    let own = WorkerId::own();
    assert!(own.started > 0 && own.is_alive());
    assert!(!WorkerId { started: own.started + 1, ..own }.is_alive(), "its number is used again");
    assert!(!WorkerId { pid: 0x3fff_ffff, started: 0 }.is_alive());
    assert!(WorkerId { started: 0, ..own }.is_alive(), "it does not know when it was started");
}

#[test]
fn formats() {
    let of = |accept: &str| Format::accepted(accept.as_bytes());
    let scraper = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
    assert_eq!(of(scraper), Format::OpenMetrics);
    assert_eq!(of("text/html,application/xhtml+xml,*/*;q=0.8"), Format::Page);
    assert_eq!(of("application/json"), Format::Json);
    for accept in ["", "*/*", "image/png", "text/plain, text/html", "text/html;q=0", "text/html;q=x"] {
        assert_eq!(of(accept), Format::Prometheus, "{accept}");
    }
    assert_eq!(Format::named(b"html"), Some(Format::Page));
    assert_eq!(Format::named(b"xml"), None);
}

#[test]
fn text_has_the_seeds_names_where_they_are_wanted() {
    let heap = Heap::of(LARGE);
    let zone = Zone::create(heap.clone()).expect("room");
    let mut a = join(&heap, &zone, 1);
    report(&mut a, 0, "x", &measured(&[(End::Ok, 5_000), (End::Timeout, 3_000_000_000)]), now(1, 3));
    let view = zone.view(|_| true);
    let text = Format::Prometheus.render(&view, false);
    for line in [
        "# TYPE nffi_calls_total counter\n",
        "nffi_calls_total{runtime=\"x\",outcome=\"ok\"} 1\n",
        "nffi_duration_seconds_bucket{runtime=\"x\",outcome=\"timeout\",le=\"2.5\"} 0\n",
        "nffi_duration_seconds_bucket{runtime=\"x\",outcome=\"timeout\",le=\"5.0\"} 1\n",
        "nffi_duration_seconds_sum{runtime=\"x\",outcome=\"ok\"} 0.000005\n",
        "nffi_running{runtime=\"x\",worker=\"1\"} 2\n",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    assert!(!text.contains("gojinn") && !text.contains("# EOF"));
    let text = Format::OpenMetrics.render(&view, true);
    assert!(text.contains("# TYPE nffi_calls counter\n") && text.ends_with("# EOF\n"));
    assert!(text.contains("gojinn_function_duration_seconds_count{path=\"x\",status=\"504\"} 1\n"));
    assert!(text.contains("gojinn_active_sandboxes{path=\"x\"} 2\n"));
    assert!(Format::Json.render(&view, true).contains("\"timeout\":1"));
}

#[test]
fn a_worker_has_so_many_and_then_no_more() {
    let heap = Heap::of(LARGE);
    let zone = Zone::create(heap.clone()).expect("room");
    let mut member = join(&heap, &zone, 1);
    for number in 0..GAUGES as u32 {
        assert_eq!(member.hold(number, &format!("r{number}")), Ok(()));
    }
    let more = GAUGES as u32;
    assert_eq!(member.hold(more, "more"), Err(NoRoom::Worker));
    assert_eq!(member.hold(more, "r0"), Err(NoRoom::Worker), "of a name that is there, either");
    // What it says all the same is nobody else's.
    member.report(more, &measured(&[(End::Ok, 1)]), now(7, 7));
    let view = zone.view(|_| true);
    assert!(view.runtimes.iter().all(|runtime| runtime.meter == Meter::default()));
    member.forget(3);
    assert_eq!(member.hold(more, "more"), Ok(()));
}
