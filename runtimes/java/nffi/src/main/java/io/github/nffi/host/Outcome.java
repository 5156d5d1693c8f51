package io.github.nffi.host;

import io.github.nffi.http.Headers;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;

/**
 * How a task ends. {@code head} and {@code trailers} are as {@link Heads} makes them: of an HTTP request only, and of no
 * bytes where there are none, or none any more.
 */
record Outcome(int status, byte[] head, byte[] trailers, byte[] data) {
    static final byte[] NOTHING = {};
    static final Outcome CANCELLED = error(1, "cancelled");

    /** For when there is no memory left to say more. */
    private static final Outcome NO_MEMORY = error(1, "java.lang.OutOfMemoryError");
    /** For when not even its class can be told. */
    static final Outcome UNTOLD = error(1, "an error that cannot be described");
    /** A request that is not of the kind that the handler takes. */
    static final Outcome NOT_HTTP = error(1, "this runtime takes messages (nffi.call), not HTTP requests (nffi_pass)");
    static final Outcome NOT_MESSAGES = error(1, "this runtime takes HTTP requests (nffi_pass), not messages (nffi.call)");
    /** What a client gets to see of an HTTP handler's failure. */
    static final Outcome INTERNAL_ERROR = new Outcome(0,
            Heads.encode(500, Headers.of("Content-Type", "text/plain; charset=utf-8")), NOTHING,
            "Internal Server Error".getBytes(StandardCharsets.US_ASCII));
    /** More are a circle. */
    private static final int MOST_WRAPPED = 16;

    static Outcome answer(byte[] data) {
        return new Outcome(0, NOTHING, NOTHING, data == null ? NOTHING : data);
    }

    static Outcome error(int status, String message) {
        return new Outcome(status, NOTHING, NOTHING, message.getBytes(StandardCharsets.UTF_8));
    }

    /** Bytes in all. */
    long length() {
        return (long) head.length + trailers.length + data.length;
    }

    /**
     * Of a handler that threw; the trace of what was not meant for the caller goes to the log. Throws nothing itself,
     * whatever the throwable's own methods do: the task would never end.
     */
    static Outcome failure(Throwable thrown, Task task) {
        try {
            return task.failed(unwrapped(thrown));
        } catch (Throwable e) {
            return task.failed(wordless(e));
        }
    }

    /** Of a request that never became a task. Throws nothing. */
    static Outcome refusal(Throwable thrown) {
        try {
            return error(1, Logs.text(thrown));
        } catch (Throwable e) {
            return wordless(e);
        }
    }

    private static Outcome wordless(Throwable e) {
        return e instanceof OutOfMemoryError ? NO_MEMORY : UNTOLD;
    }

    private static Throwable unwrapped(Throwable thrown) {
        Throwable cause = thrown;
        for (int i = 0; i < MOST_WRAPPED && (cause instanceof CompletionException || cause instanceof ExecutionException); i++) {
            Throwable inner = cause.getCause();
            if (inner == null) {
                break;
            }
            cause = inner;
        }
        return cause;
    }
}
