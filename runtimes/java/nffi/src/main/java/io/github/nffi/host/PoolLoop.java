package io.github.nffi.host;

import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * A blocking handler on a number of threads, without a thread that hands out the work: each polls, runs what it got, and
 * sends the answer with its next poll. There is one thread more than may run at once, so that somebody always hears of
 * CANCEL; what it polls when all others are busy waits in a queue here.
 */
final class PoolLoop {
    private static final int DEFAULT_THREADS = 8;

    private final Service service;
    private final App.Blocking handler;
    private final int most;
    private final Closing closing;
    private final AtomicInteger running = new AtomicInteger();
    private final ConcurrentLinkedQueue<Task> waiting = new ConcurrentLinkedQueue<>();

    PoolLoop(Service service, App.Blocking handler, int threads) {
        this.service = service;
        this.handler = handler;
        this.most = threads == 0 ? DEFAULT_THREADS : threads;
        this.closing = new Closing(service, most + 1);
    }

    void start(String name) {
        for (int i = 0; i <= most; i++) {
            service.thread(this::loop, name + "-" + i, false).start();
        }
    }

    private void loop(Batch batch) {
        boolean stop = false;
        while (!stop) {
            if (!batch.hasNext()) {
                // More than one only where there is nobody to run it: it would wait behind a slow first.
                batch.exchange(running.get() >= most ? Batch.MOST : 1, -1);
            }
            Task own = null;
            try {
                while (batch.hasNext()) {
                    int kind = batch.next();
                    if (Host.isRequest(kind)) {
                        own = takeIn(kind, batch, own);
                    } else if (kind == Host.STOP) {
                        stop = true;
                    } else {
                        service.signal(kind, batch);
                    }
                }
            } finally {
                work(own, batch);
            }
        }
        closing.leave(batch);
    }

    /** The task for this thread to run, where it may run one and has none yet; all others wait. */
    private Task takeIn(int kind, Batch batch, Task own) {
        Task task = service.accept(kind, batch);
        if (task != null && own == null && admit()) {
            return task;
        }
        if (task != null) {
            try {
                waiting.add(task);
            } catch (Throwable e) {
                service.finish(task, Outcome.failure(e, task), batch);
            }
        }
        return own;
    }

    private boolean admit() {
        int now = running.get();
        while (now < most) {
            if (running.compareAndSet(now, now + 1)) {
                return true;
            }
            now = running.get();
        }
        return false;
    }

    /** Runs its own task, if any, then what waits. A task that comes to wait is seen by its adder or by a runner. */
    private void work(Task own, Batch batch) {
        Task task = own;
        while (task != null || (!waiting.isEmpty() && admit())) {
            try {
                for (task = task != null ? task : waiting.poll(); task != null; task = waiting.poll()) {
                    if (task.begin()) {
                        // The answer before goes out now: this task may take long.
                        batch.flush();
                        service.run(handler, task, batch);
                    }
                }
            } finally {
                running.decrementAndGet();
            }
        }
    }
}
