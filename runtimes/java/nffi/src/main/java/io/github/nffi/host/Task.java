package io.github.nffi.host;

import io.github.nffi.Request;
import java.io.InputStream;
import java.io.OutputStream;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;

/**
 * A call between its CALL and its end.
 *
 * <pre>
 *   WAITING ──► RUNNING ──► ENDED
 *      └── cancelled ────────┘
 * </pre>
 */
final class Task implements Request {
    private enum State {
        WAITING, RUNNING, ENDED
    }

    final long id;

    private final Service service;
    private final int flags;
    private final long deadline;
    private final Pieces pieces;

    /** Guarded by this, as all below. */
    private State state = State.WAITING;
    private volatile boolean cancelled;
    private Thread runner;
    private CompletableFuture<byte[]> future;
    private List<Runnable> actions;

    Task(Service service, long id, int flags, long deadline, byte[] data) {
        this.service = service;
        this.id = id;
        this.flags = flags;
        this.deadline = deadline;
        this.pieces = new Pieces(service.host(), id, data, (flags & Host.MORE) != 0);
    }

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
    void runsAs(CompletableFuture<byte[]> future) {
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
        CompletableFuture<byte[]> running;
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
    private void cancel(CompletableFuture<byte[]> running) {
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

    /** After the answer: nothing would wake a thread of the handler's that waits for a piece. */
    void ended() {
        pieces.close("the request has been answered");
    }

    void readable() {
        pieces.readable();
    }

    void writable() {
        pieces.writable();
    }

    /** What was written and not flushed is the first part of the last piece. */
    byte[] last(byte[] answer) {
        return pieces.last(answer);
    }

    @Override
    public byte[] bytes() {
        return pieces.all();
    }

    @Override
    public InputStream input() {
        return pieces.input();
    }

    @Override
    public OutputStream output() {
        return pieces.output();
    }

    @Override
    public boolean isCancelled() {
        return cancelled;
    }

    @Override
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

    @Override
    public Optional<Duration> timeLeft() {
        // Linux: System.nanoTime() is CLOCK_MONOTONIC, as the deadline is.
        return deadline == 0 ? Optional.empty() : Optional.of(Duration.ofNanos(Math.max(0, deadline - System.nanoTime())));
    }

    @Override
    public boolean isCast() {
        return (flags & Host.CAST) != 0;
    }
}
