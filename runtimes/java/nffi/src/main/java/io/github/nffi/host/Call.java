package io.github.nffi.host;

import io.github.nffi.NffiException;
import io.github.nffi.Request;
import java.io.InputStream;
import java.io.OutputStream;
import java.time.Duration;
import java.util.Optional;

/** A message and its answer. */
final class Call extends Task implements Request {
    private final int flags;
    private final long deadline;

    Call(Service service, long id, int flags, long deadline, byte[] data) {
        super(service, id, new Pieces(service.host(), id, data, (flags & Host.MORE) != 0));
        this.flags = flags;
        this.deadline = deadline;
    }

    /** What was written and not flushed is the first part of the last piece. */
    @Override
    Outcome answered(Object result) {
        return Outcome.answer(pieces.last(result == null ? Outcome.NOTHING : (byte[]) result));
    }

    @Override
    Outcome failed(Throwable cause) {
        if (cause instanceof NffiException error) {
            return Outcome.error(error.status(), String.valueOf(error.getMessage()));
        }
        if (isCancelled()) {
            // Interrupted, most likely, as it was meant to be; nobody gets the answer.
            return Outcome.CANCELLED;
        }
        Outcome outcome = Outcome.error(1, Logs.text(cause));
        service().logTrace(this, "", cause);
        return outcome;
    }

    @Override
    Outcome failed(Outcome wordless) {
        return wordless;
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
    public Optional<Duration> timeLeft() {
        // Linux: System.nanoTime() is CLOCK_MONOTONIC, as the deadline is.
        return deadline == 0 ? Optional.empty() : Optional.of(Duration.ofNanos(Math.max(0, deadline - System.nanoTime())));
    }

    @Override
    public boolean isCast() {
        return (flags & Host.CAST) != 0;
    }
}
