//! A host of its own for each test, and threads that use it: what Miri can follow, who knows
//! neither libraries nor C.

#![allow(clippy::expect_used)]

use std::{
    path::PathBuf,
    sync::{Arc, LazyLock, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use nffi_abi::{NFFI_AGAIN, NFFI_BAD, NFFI_CALL, NFFI_CANCEL, NFFI_EOF, NFFI_GONE, NFFI_OK, NFFI_STOP, nffi_answer};

use super::{Dispatch, NOBODY, News, Outcome, Submission, Times, Witness};
use crate::{
    buf::Buf,
    done::Sink,
    host::Host,
    mark::{Marked, TaskMark},
    meter::{End, Meter},
    options::Settings,
    pipe::Pieces,
    registry,
    runtime::{Runtime, Spec},
    slot::Answer,
};

/// Sends what is found when it rings.
struct Ring<T>(&'static Host, fn(&Host) -> T, mpsc::Sender<T>);

impl<T: Send> Sink for Ring<T> {
    fn notify(&self) {
        let _ = self.2.send(self.1(self.0));
    }
}

/// Runs a test with a host that is gone afterwards; all its threads must have ended.
fn with_host(queue: usize, test: impl FnOnce(&'static Host, Arc<Runtime>, &mut Dispatch, &mpsc::Receiver<()>)) {
    with_host_and(queue, |_| (), test);
}

/// The same; the test is told what `look` finds whenever the event loop is woken.
fn with_host_and<T: Send + 'static>(
    queue: usize,
    look: fn(&Host) -> T,
    test: impl FnOnce(&'static Host, Arc<Runtime>, &mut Dispatch, &mpsc::Receiver<T>),
) {
    let host = Box::into_raw(Box::new(Host::default()));
    {
        // SAFETY: freed below; the threads of the test are joined by then.
        let host: &'static Host = unsafe { &*host };
        let (give, rung) = mpsc::channel();
        host.set_sink(Box::new(Ring(host, look, give)));
        let mut dispatch = Dispatch::new(host);
        let settings = Settings { queue, ..Settings::default() };
        let spec = Spec {
            name: "test".to_owned(),
            library: PathBuf::new(),
            config: Vec::new(),
            settings,
            surroundings: Default::default(),
        };
        let runtime = dispatch.adopt(&spec);
        test(host, runtime, &mut dispatch, &rung);
        registry::forget();
    }
    // SAFETY: from Box::into_raw; the dispatch and the runtime that referred to it are gone.
    drop(unsafe { Box::from_raw(host) });
}

fn request(owner: u32, data: &[u8]) -> Submission {
    let data = Buf::copy_of(data).expect("memory");
    Submission::new(data, owner)
}

/// One event: its kind, task, and data.
fn poll(host: &Host, runtime: &Runtime) -> (u32, u64, Vec<u8>) {
    let mut events = [const { std::mem::MaybeUninit::uninit() }; 1];
    let deadline = Instant::now() + Duration::from_secs(60);
    assert_eq!(runtime.queue.poll(&host.table, &mut events, Some(deadline)), 1);
    // SAFETY: poll() has written one.
    let event: &nffi_abi::nffi_event = unsafe { events[0].assume_init_ref() };
    let data = match event.data.is_null() {
        true => Vec::new(),
        // SAFETY: valid until the task is ended, which is later.
        false => unsafe { std::slice::from_raw_parts(event.data.cast(), event.len) }.to_vec(),
    };
    (event.kind, event.task, data)
}

fn reply(host: &Host, task: u64, data: &[u8]) -> i32 {
    host.finish("reply", task, Answer { status: 0, data: Buf::copy_of(data).expect("memory") })
}

fn end(host: &Host, task: u64) -> i32 {
    host.finish("end", task, Answer { status: 0, data: Buf::none() })
}

/// Drains until everything has ended.
fn drain<T>(dispatch: &mut Dispatch, rung: &mpsc::Receiver<T>) -> Vec<News> {
    let mut news = Vec::new();
    loop {
        dispatch.drain(&mut news);
        dispatch.flush();
        if dispatch.unended() == 0 {
            return news;
        }
        let _ = rung.recv_timeout(Duration::from_secs(60));
    }
}

fn answer(news: &[News]) -> Vec<(u32, Vec<u8>)> {
    let mut answers: Vec<_> = news
        .iter()
        .filter_map(|news| match news {
            News::Ended { owner, outcome: Outcome::Answer(answer) } => Some((*owner, answer.data.as_slice().to_vec())),
            _ => None,
        })
        .collect();
    answers.sort();
    answers
}

#[test]
fn answers_given_together_wake_the_event_loop_once_after_the_last() {
    static TASKS: Mutex<Vec<u64>> = Mutex::new(Vec::new());
    fn over(host: &Host) -> usize {
        let tasks = TASKS.lock().expect("tasks");
        tasks.iter().filter(|task| host.cancelled(**task) == NFFI_BAD).count()
    }
    with_host_and(8, over, |host, runtime, dispatch, rung| {
        for owner in 0..3 {
            dispatch.submit(0, request(owner, b"x"));
        }
        dispatch.flush();
        // What the start had to tell.
        dispatch.drain(&mut Vec::new());
        let tasks: Vec<_> = (0..3).map(|_| poll(host, &runtime).1).collect();
        TASKS.lock().expect("tasks").clone_from(&tasks);
        rung.try_iter().for_each(drop);
        let mut answers: Vec<_> = tasks.iter().map(|&task| nffi_answer { task, ..Default::default() }).collect();
        // SAFETY: no data.
        assert_eq!(unsafe { host.finish_many(&mut answers) }, 3);
        assert_eq!(rung.try_iter().collect::<Vec<_>>(), [3]);
        assert_eq!(answer(&drain(dispatch, rung)).len(), 3);
    });
}

#[test]
fn calls_and_casts_through_two_threads() {
    with_host(32, |host, runtime, dispatch, rung| {
        let pollers: Vec<_> = (0..2)
            .map(|_| {
                let runtime = runtime.clone();
                thread::spawn(move || {
                    loop {
                        match poll(host, &runtime) {
                            (NFFI_CALL, task, data) => assert_eq!(reply(host, task, &data), NFFI_OK),
                            (kind, ..) => return kind,
                        }
                    }
                })
            })
            .collect();
        for owner in 0..20u8 {
            dispatch.submit(0, request(owner.into(), &[owner; 9]));
        }
        dispatch.submit(0, request(NOBODY, b"cast"));
        dispatch.flush();
        let expected: Vec<_> = (0..20u8).map(|owner| (owner.into(), vec![owner; 9])).collect();
        assert_eq!(answer(&drain(dispatch, rung)), expected);
        runtime.queue.stop();
        assert!(pollers.into_iter().all(|poller| poller.join().expect("poller") == NFFI_STOP));
    });
}

#[test]
fn cancelled_tasks_and_used_slots() {
    with_host(2, |host, runtime, dispatch, rung| {
        for _ in 0..5 {
            let queued = dispatch.submit(0, request(1, b"queued"));
            dispatch.cancel(queued);
            assert!(dispatch.admit(0, 1).is_ok());
            let running = dispatch.submit(0, request(2, b"running"));
            assert_eq!(poll(host, &runtime), (NFFI_CALL, running, b"running".to_vec()));
            dispatch.cancel(running);
            assert_eq!(poll(host, &runtime).0, NFFI_CANCEL);
            assert_eq!(reply(host, running, b"late"), NFFI_GONE);
            assert!(answer(&drain(dispatch, rung)).is_empty());
        }
    });
}

#[test]
fn pieces_both_ways() {
    with_host(32, |host, runtime, dispatch, rung| {
        let pieces = Arc::new(Pieces::default());
        let mut submission = request(1, b"");
        submission.pieces = Some(pieces.clone());
        submission.more = true;
        let task = dispatch.submit(0, submission);
        let echo = thread::spawn({
            let runtime = runtime.clone();
            move || {
                poll(host, &runtime);
                loop {
                    match host.read(task) {
                        Ok(piece) => assert_eq!(host.write(task, piece), NFFI_OK),
                        Err(NFFI_AGAIN) => drop(poll(host, &runtime)),
                        Err(status) => {
                            assert_eq!((status, end(host, task)), (NFFI_EOF, NFFI_OK));
                            return;
                        }
                    }
                }
            }
        });
        for i in 0..4u8 {
            dispatch.send(task, &pieces, Buf::copy_of(&[i; 100])).expect("alive");
            dispatch.flush();
        }
        dispatch.send(task, &pieces, None).expect("alive");
        drain(dispatch, rung);
        for i in 0..4u8 {
            assert_eq!(dispatch.receive(task, &pieces).expect("a piece").as_slice(), [i; 100]);
        }
        echo.join().expect("echo");
        assert_eq!(Arc::strong_count(&pieces), 1);
    });
}

#[test]
fn gathered_pieces_and_two_answers() {
    with_host(32, |host, runtime, dispatch, rung| {
        let task = dispatch.submit(0, request(7, b""));
        poll(host, &runtime);
        for piece in [&b"one "[..], b"two "] {
            assert_eq!(host.write(task, Buf::copy_of(piece).expect("memory")), NFFI_OK);
        }
        let threads = [b"this", b"that"].map(|last| thread::spawn(move || reply(host, task, last)));
        assert_eq!(threads.map(|t| t.join().expect("thread")).iter().filter(|rc| **rc == NFFI_OK).count(), 1);
        let answers = answer(&drain(dispatch, rung));
        assert!(answers == [(7, b"one two this".to_vec())] || answers == [(7, b"one two that".to_vec())]);
    });
}

/// A process may end with tasks in every state.
#[test]
fn what_is_left_is_freed() {
    with_host(32, |host, runtime, dispatch, _| {
        let mut stream = request(1, b"running");
        stream.pieces = Some(Arc::default());
        let running = dispatch.submit(0, stream);
        dispatch.submit(0, request(2, b"ended"));
        dispatch.submit(0, request(3, b"queued"));
        poll(host, &runtime);
        host.write(running, Buf::copy_of(b"never received").expect("memory"));
        let (_, ended, _) = poll(host, &runtime);
        reply(host, ended, b"never drained");
        host.push_line(0, running, 6, b"never written");
    });
}

#[test]
fn what_became_of_each_is_measured() {
    with_host(10, |host, runtime, dispatch, rung| {
        // Before anybody measures.
        dispatch.submit(0, request(1, b"abc"));
        reply(host, poll(host, &runtime).1, b"no");
        drain(dispatch, rung);
        assert_eq!(dispatch.take_meter(0), Some(Meter { request_bytes: 3, response_bytes: 2, ..Meter::default() }));
        dispatch.measure_from_now();

        dispatch.submit(0, request(1, b"abcde"));
        reply(host, poll(host, &runtime).1, b"good");
        dispatch.submit(0, request(2, b""));
        host.finish("reply", poll(host, &runtime).1, Answer { status: 5, data: Buf::none() });
        drain(dispatch, rung);
        let late = dispatch.submit(0, request(3, b""));
        let (_, task, _) = poll(host, &runtime);
        dispatch.cancel_as(late, End::Timeout);
        // Whoever comes second changes nothing.
        dispatch.cancel(late);
        let queued = dispatch.submit(0, request(4, b""));
        dispatch.cancel(queued);
        end(host, task);
        drain(dispatch, rung);

        let meter = dispatch.take_meter(0).expect("a runtime");
        assert_eq!(End::ALL.map(|end| meter.of(end).count()), [1, 1, 1, 1]);
        assert_eq!((meter.queued.count(), meter.run.count()), (4, 3), "one never ran");
        assert_eq!((meter.request_bytes, meter.response_bytes), (5, 4));
        assert_eq!(dispatch.take_meter(0), Some(Meter::default()));
        assert_eq!((dispatch.runtimes[0].stats.timeouts, dispatch.runtimes[0].stats.cancelled), (1, 2));
    });
}

/// Notes each end that it is told of, and whether the task ran.
#[derive(Debug)]
struct Tells(Arc<Mutex<Vec<(End, bool)>>>);

impl Witness for Tells {
    fn over(self: Box<Self>, runtime: &Runtime, end: End, times: Times) {
        assert_eq!(runtime.name, "test");
        assert!(times.submitted != 0 && times.over >= times.submitted.max(times.polled));
        self.0.lock().expect("told").push((end, times.polled != 0));
    }
}

#[test]
fn a_witness_is_told_once_of_each_end() {
    with_host(10, |host, runtime, dispatch, rung| {
        let told = Arc::new(Mutex::new(Vec::new()));
        let submission = |owner| Submission { witness: Some(Box::new(Tells(told.clone()))), ..request(owner, b"") };
        // Nobody measures: nobody is told.
        dispatch.submit(0, submission(1));
        reply(host, poll(host, &runtime).1, b"");
        drain(dispatch, rung);
        assert_eq!(Arc::strong_count(&told), 1);
        dispatch.measure_from_now();
        dispatch.submit(0, submission(1));
        reply(host, poll(host, &runtime).1, b"");
        dispatch.submit(0, submission(NOBODY));
        host.finish("reply", poll(host, &runtime).1, Answer { status: 5, data: Buf::none() });
        drain(dispatch, rung);
        let late = dispatch.submit(0, submission(2));
        poll(host, &runtime);
        dispatch.cancel_as(late, End::Timeout);
        dispatch.cancel(late);
        let queued = dispatch.submit(0, submission(3));
        dispatch.cancel(queued);
        end(host, late);
        drain(dispatch, rung);
        assert_eq!(
            *told.lock().expect("told"),
            [(End::Ok, true), (End::Error, true), (End::Timeout, true), (End::Cancelled, false)]
        );
        assert_eq!(Arc::strong_count(&told), 1);
    });
}

#[test]
fn marks_show_what_is_under_way() {
    static MARKS: LazyLock<[TaskMark; 2]> = LazyLock::new(Default::default);
    let marks: &'static [TaskMark] = &*MARKS;
    let all = || marks.iter().filter_map(TaskMark::read).collect::<Vec<_>>();
    with_host(10, |host, runtime, dispatch, rung| {
        dispatch.measure_from_now();
        dispatch.mark_from_now(marks);
        let marked = |running| Marked { running, runtime: 0, trace: 0x1_0000_0000_0000_0000_0000, request_id: 7 };
        let submission = || Submission { trace: marked(false).trace, request_id: 7, ..request(1, b"") };
        dispatch.submit(0, submission());
        assert_eq!(all(), [marked(false)]);
        // There is no room for its mark.
        dispatch.submit(0, submission());
        assert_eq!(all(), [marked(false)]);
        end(host, {
            let task = poll(host, &runtime).1;
            assert_eq!(all(), [marked(true)]);
            task
        });
        end(host, poll(host, &runtime).1);
        drain(dispatch, rung);
        assert_eq!(all(), []);
        let task = dispatch.submit(0, submission());
        dispatch.cancel(task);
        assert_eq!(all(), []);
    });
}
