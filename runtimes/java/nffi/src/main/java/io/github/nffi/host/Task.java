package io.github.nffi.host;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;

/**
 * A request between its CALL or HTTP and its end.
 *
 * <pre>
 *   WAITING ──► RUNNING ──► ENDED
 *      └── cancelled ────────┘
 * </pre>
 */
abstract class Task {
    private enum State {
        WAITING, RUNNING, ENDED
    }

    final long id;
    final Pieces pieces;

    private final Service service;

    /** Guarded by this, as all below. */
    private State state = State.WAITING;
    private volatile boolean cancelled;
    private Thread runner;
    private CompletableFuture<?> future;
    private List<Runnable> actions;

    Task(Service service, long id, Pieces pieces) {
        this.service = service;
        this.id = id;
        this.pieces = pieces;
    }

    /** Of a handler that is done, with what it returned. May throw. */
    abstract Outcome answered(Object result);

    /** Of a handler that failed. May throw. */
    abstract Outcome failed(Throwable cause);

    /** As {@link #failed}, when nothing more can be told; needs no memory and throws nothing. */
    abstract Outcome failed(Outcome wordless);

    Service service() {
        return service;
    }

    /** Goes on to run; false where it has ended already. */
    synchronized boolean begin() {
        if (state != State.WAITING) {
            return false;
        }
        state = State.RUNNING;
        return true;
    }

    /** From here on a cancel interrupts this thread. */
    synchronized void runsHere() {
        runner = Thread.currentThread();
        if (cancelled) {
            runner.interrupt();
        }
    }

    /** From here on it does not; an interrupt that came too late is not left for the next task. */
    void ranHere() {
        synchronized (this) {
            runner = null;
        }
        Thread.interrupted();
    }

    /** A cancel cancels the future. */
    void runsAs(CompletableFuture<?> future) {
        synchronized (this) {
            this.future = future;
            if (!cancelled) {
                return;
            }
        }
        cancel(future);
    }

    /** True for the one who may send the answer. */
    synchronized boolean end() {
        if (state == State.ENDED) {
            return false;
        }
        state = State.ENDED;
        actions = null;
        return true;
    }

    /** The caller has gone. True where the task never ran: then it is over. Runs on: a loop's thread. */
    boolean cancel() {
        List<Runnable> now;
        CompletableFuture<?> running;
        synchronized (this) {
            if (cancelled || state == State.ENDED) {
                return false;
            }
            cancelled = true;
            if (state == State.WAITING) {
                return end();
            }
            if (runner != null) {
                runner.interrupt();
            }
            now = actions;
            actions = null;
            running = future;
        }
        pieces.close("the caller has gone");
        if (running != null) {
            cancel(running);
        }
        if (now != null) {
            now.forEach(this::run);
        }
        return false;
    }

    /** A future may be of a class of the handler's. */
    private void cancel(CompletableFuture<?> running) {
        try {
            running.cancel(true);
        } catch (Throwable e) {
            service.logTrace(this, "cancel: ", e);
        }
    }

    private void run(Runnable action) {
        try {
            action.run();
        } catch (Throwable e) {
            service.logTrace(this, "onCancel: ", e);
        }
    }

    /** Before the answer is sent: what the host lends is not touched any more. */
    void ending() {
    }

    /** After the answer: nothing would wake a thread of the handler's that waits for a piece. */
    void ended() {
        pieces.close("the request has been answered");
    }

    public boolean isCancelled() {
        return cancelled;
    }

    public void onCancel(Runnable action) {
        synchronized (this) {
            if (state == State.ENDED) {
                return;
            }
            if (!cancelled) {
                if (actions == null) {
                    actions = new ArrayList<>(1);
                }
                actions.add(action);
                return;
            }
        }
        run(action);
    }
}
