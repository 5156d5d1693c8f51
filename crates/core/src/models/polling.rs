//! The queue as pollers see it: tasks, STOP, the descriptor, and throwing out.

use std::{
    mem::MaybeUninit,
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

use loom::thread;
use nffi_abi::{NFFI_CALL, NFFI_CANCEL, NFFI_STOP, nffi_event};
use rustix::event::{PollFd, PollFlags, Timespec};

use super::{explore, world::with_world};
use crate::{buf::Buf, host::Host, runtime::Runtime, slot::Answer};

/// Polls for up to two events, for ever or not at all.
pub(super) fn poll(host: &Host, runtime: &Runtime, wait: bool) -> Vec<(u32, u64)> {
    poll_for(2, host, runtime, wait)
}

fn poll_for(max: usize, host: &Host, runtime: &Runtime, wait: bool) -> Vec<(u32, u64)> {
    let mut events = [const { MaybeUninit::<nffi_event>::uninit() }; 2];
    let deadline = if wait { None } else { Some(Instant::now() - Duration::from_secs(1)) };
    let taken = runtime.queue.poll(&host.table, &mut events[..max], deadline);
    // SAFETY: poll() has written as many events as it says.
    events[..taken].iter().map(|e| unsafe { e.assume_init_ref() }).map(|e| (e.kind, e.task)).collect()
}

fn end(host: &Host, task: u64) {
    host.finish("end", task, Answer { status: 0, data: Buf::none() });
}

fn is_readable(fd: i32) -> bool {
    // SAFETY: the models call this while the queue, whose descriptor this is, is there.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&zero)) == Ok(1)
}

#[test]
fn stop_comes_after_the_work_to_every_poller() {
    explore(2, || {
        with_world(2, |world| {
            let pollers: Vec<_> = (0..2)
                .map(|_| {
                    let (host, runtime) = (world.host, world.runtime.clone());
                    thread::spawn(move || {
                        let mut calls = 0;
                        loop {
                            let events = poll(host, &runtime, true);
                            assert!(!events.is_empty());
                            for (kind, task) in events {
                                match kind {
                                    NFFI_CALL => {
                                        end(host, task);
                                        calls += 1;
                                    }
                                    NFFI_STOP => return calls,
                                    other => panic!("event {other}"),
                                }
                            }
                        }
                    })
                })
                .collect();
            world.submit(1, None, false);
            world.dispatch.flush();
            world.runtime.queue.stop();
            let calls: usize = pollers.into_iter().map(|p| p.join().expect("poller")).sum();
            assert_eq!(calls, 1);
            world.run_until_idle();
        });
    });
}

#[test]
fn one_flush_reaches_as_many_pollers_as_there_are_tasks() {
    explore(3, || {
        with_world(2, |world| {
            let pollers: Vec<_> = (0..2)
                .map(|_| {
                    let (host, runtime) = (world.host, world.runtime.clone());
                    thread::spawn(move || {
                        let events = poll_for(1, host, &runtime, true);
                        events.iter().for_each(|(_, task)| end(host, *task));
                    })
                })
                .collect();
            world.submit(1, None, false);
            world.submit(2, None, false);
            world.dispatch.flush();
            pollers.into_iter().for_each(|p| p.join().expect("poller"));
            world.run_until_idle();
        });
    });
}

#[test]
fn cancel_wakes_a_poller() {
    explore(3, || {
        with_world(2, |world| {
            let task = world.submit_and_poll(None, false);
            let (host, runtime) = (world.host, world.runtime.clone());
            let poller = thread::spawn(move || {
                assert_eq!(poll(host, &runtime, true), [(NFFI_CANCEL, task)]);
                assert_eq!(host.cancelled(task), 1);
                end(host, task);
            });
            world.dispatch.cancel(task);
            world.dispatch.flush();
            poller.join().expect("poller");
            world.run_until_idle();
        });
    });
}

/// While cancelled tasks are thrown out, the others are in nobody's sight for a moment.
#[test]
fn a_poller_that_came_while_tasks_were_thrown_out() {
    explore(3, || {
        with_world(2, |world| {
            let gone = world.submit(1, None, false);
            let stays = world.submit(2, None, false);
            world.dispatch.flush();
            world.dispatch.cancel(gone);
            let (host, runtime) = (world.host, world.runtime.clone());
            let poller = thread::spawn(move || {
                assert_eq!(poll(host, &runtime, true), [(NFFI_CALL, stays)]);
                end(host, stays);
            });
            // Says no where the poller was quicker than the second look.
            let _ = world.dispatch.admit(0, 0);
            poller.join().expect("poller");
            world.run_until_idle();
        });
    });
}

/// The descriptor is made when it is asked for, while work may be on its way.
#[test]
fn a_descriptor_made_while_work_comes() {
    explore(3, || {
        with_world(2, |world| {
            let (host, runtime) = (world.host, world.runtime.clone());
            let poller = thread::spawn(move || {
                let fd = runtime.queue.poll_fd().expect("a descriptor");
                (fd, poll(host, &runtime, false))
            });
            let task = world.submit(1, None, false);
            world.dispatch.flush();
            let (fd, seen) = poller.join().expect("poller");
            assert!(!seen.is_empty() || is_readable(fd), "neither seen nor announced");
            if seen.is_empty() {
                assert_eq!(poll(world.host, &world.runtime, false), [(NFFI_CALL, task)]);
            }
            end(world.host, task);
            world.run_until_idle();
        });
    });
}

/// For a poller that waits in an epoll of its own: what it has not seen keeps the descriptor
/// readable, STOP included.
#[test]
fn the_descriptor_is_readable_while_something_waits() {
    for stop in [true, false] {
        explore(3, move || {
            with_world(2, |world| {
                let fd = world.runtime.queue.poll_fd().expect("a descriptor");
                let (host, runtime) = (world.host, world.runtime.clone());
                let poller = thread::spawn(move || poll(host, &runtime, false));
                let task = if stop {
                    world.runtime.queue.stop();
                    0
                } else {
                    let task = world.submit(1, None, false);
                    world.dispatch.flush();
                    task
                };
                let seen = poller.join().expect("poller");
                if seen.is_empty() || stop {
                    assert!(is_readable(fd), "{seen:?} were all it saw");
                    assert_eq!(poll(world.host, &world.runtime, false).len(), 1);
                }
                if !stop {
                    end(world.host, task);
                    world.run_until_idle();
                }
            });
        });
    }
}
