package io.github.nffi;

import java.io.InputStream;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Optional;

/** A request, and all that can be known of its caller. Any thread may use it. */
public interface Request {
    /**
     * The whole request. Of one that comes in pieces, waits for the last.
     *
     * @throws IllegalStateException where {@link #input} was read before, or the thread may not wait
     */
    byte[] bytes();

    /** The whole request as UTF-8. */
    default String text() {
        return new String(bytes(), StandardCharsets.UTF_8);
    }

    /**
     * The request as it comes. Reading waits for the next piece, and fails where the caller has gone.
     */
    InputStream input();

    /**
     * The answer, piece by piece; what the handler returns in the end is the last piece. Each write that is flushed or
     * fills a buffer of 16 KiB is a piece. Writing waits while the caller has not taken what is on its way, and fails
     * where it has gone. A caller that wants the answer whole gets it whole.
     */
    OutputStream output();

    /** Has the caller gone? Whatever is answered then is dropped. */
    boolean isCancelled();

    /**
     * Runs the action when the caller has gone: at once where it has already, never once the task has ended. It runs on
     * the thread that takes requests in, and must return soon.
     */
    void onCancel(Runnable action);

    /** How long the caller still waits; empty where it has set no limit. Never negative. */
    Optional<Duration> timeLeft();

    /** Is nobody waiting for an answer? */
    boolean isCast();
}
