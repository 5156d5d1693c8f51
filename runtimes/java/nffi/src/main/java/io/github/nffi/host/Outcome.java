package io.github.nffi.host;

import io.github.nffi.NffiException;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;

/** How a task ends. */
record Outcome(int status, byte[] data) {
    static final byte[] NOTHING = {};
    static final Outcome CANCELLED = error(1, "cancelled");

    /** For when there is no memory left to say more. */
    private static final Outcome NO_MEMORY = error(1, "java.lang.OutOfMemoryError");

    static Outcome answer(byte[] data) {
        return new Outcome(0, data == null ? NOTHING : data);
    }

    private static Outcome error(int status, String message) {
        return new Outcome(status, message.getBytes(StandardCharsets.UTF_8));
    }

    /** Of a handler that threw; the trace of what was not meant for the caller goes to the log. */
    static Outcome failure(Throwable thrown, Task task) {
        Throwable cause = thrown;
        while ((cause instanceof CompletionException || cause instanceof ExecutionException) && cause.getCause() != null) {
            cause = cause.getCause();
        }
        if (cause instanceof NffiException error) {
            return error(error.status(), String.valueOf(error.getMessage()));
        }
        if (task.isCancelled()) {
            // Interrupted, most likely, as it was meant to be; nobody gets the answer.
            return CANCELLED;
        }
        try {
            task.service().log(task, Host.ERR, Logs.trace(cause));
            return error(1, cause.toString());
        } catch (OutOfMemoryError e) {
            return NO_MEMORY;
        } catch (RuntimeException e) {
            // Its own toString() throws.
            return error(1, cause.getClass().getName());
        }
    }
}
