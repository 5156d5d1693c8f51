//! The threads of a blocking runtime.

use std::{io, sync::Arc, thread};

use nffi_abi::{NFFI_CALL, NFFI_CANCEL, NFFI_HTTP, NFFI_READABLE, NFFI_STOP, NFFI_WRITABLE, nffi_event};

use crate::{Call, Error, Service, crew::Next, export::Start, life::Life, log, panics, task::Task};

pub(crate) fn default_threads() -> usize {
    thread::available_parallelism().map_or(4, |cores| cores.get().max(4))
}

/// Runs on: the host's thread for the start.
pub(crate) fn start<S: Service>(start: &Start, config: S::Config) -> Result<(), Error> {
    let life = Life::new(start.host, start.options.log_level, start.context.threads);
    let _here = log::enter(life.place(0));
    let service = Arc::new(S::new(config, &start.context).map_err(|error| Error::of(&error))?);
    life.crew.set_spawn(Arc::new({
        // Not the life itself, which would then never end.
        let life = Arc::downgrade(&life);
        move || match life.upgrade() {
            Some(life) => spawn(life, Arc::clone(&service)),
            None => Ok(()),
        }
    }));
    for _ in 0..start.context.threads {
        // Those that are there already are told to stop by the host, when this start has failed.
        life.crew.spawn().map_err(|error| Error::from(format!("cannot start a thread: {error}")))?;
    }
    life.set_started();
    Ok(())
}

fn spawn<S: Service>(life: Arc<Life>, service: Arc<S>) -> io::Result<()> {
    let thread = thread::Builder::new().name("nffi-handler".to_owned());
    thread.spawn(move || {
        work(&life, &*service);
        // The service first: with the last of the other the runtime has stopped.
        drop(service);
        drop(life);
    })?;
    Ok(())
}

/// Runs on: each thread of the pool, from its start to its end.
fn work<S: Service>(life: &Arc<Life>, service: &S) {
    let _here = log::enter(life.place(0));
    let mut next = life.crew.next();
    loop {
        next = match next {
            Next::Work(task) => {
                answer(life, service, task);
                life.crew.done()
            }
            Next::Poll => match poll(life, service) {
                Some(next) => next,
                None => return,
            },
            Next::Leave => return,
        }
    }
}

fn answer<S: Service>(life: &Life, service: &S, mut task: Task) {
    // It may have stood in the line for long.
    if life.host.cancelled(task.id()) {
        task.finish(Err(&Error::from("cancelled")));
        return;
    }
    // `take` may be the service's own. A call in it that was not answered is, by its drop.
    let _ = panics::catch(|| service.take(Call::new(task)));
}

/// Waits for one event. None at the end.
fn poll<S: Service>(life: &Arc<Life>, service: &S) -> Option<Next<Task>> {
    // One at a time: a call that came with a slow one would wait for it while other threads idle.
    let mut event = [nffi_event::default()];
    if let Some(event) = life.host.poll(&mut event, -1).first() {
        match event.kind {
            // SAFETY: the host has handed the event out just now, to this thread alone.
            NFFI_CALL => return Some(life.crew.take(unsafe { Task::new(Arc::clone(life), event) })),
            // SAFETY: as above.
            NFFI_HTTP => unsafe { Task::refuse_http(life, event) },
            NFFI_READABLE => {
                life.flow(event.task).inspect(|flow| flow.readable());
            }
            NFFI_WRITABLE => {
                life.flow(event.task).inspect(|flow| flow.writable());
            }
            NFFI_CANCEL => {
                life.flow(event.task).inspect(|flow| flow.cancelled());
                let _ = panics::catch(|| service.cancelled(event.task));
            }
            NFFI_STOP => {
                if life.crew.leave() && life.begin_stop() {
                    let _ = panics::catch(|| service.stop());
                }
                return None;
            }
            // Of a later version of the ABI.
            _ => {}
        }
    }
    Some(life.crew.next())
}
