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
    /** For when not even its class can be told. */
    static final Outcome UNTOLD = error(1, "an error that cannot be described");
    /** More are a circle. */
    private static final int MOST_WRAPPED = 16;

    static Outcome answer(byte[] data) {
        return new Outcome(0, data == null ? NOTHING : data);
    }

    private static Outcome error(int status, String message) {
        return new Outcome(status, message.getBytes(StandardCharsets.UTF_8));
    }

    /**
     * Of a handler that threw; the trace of what was not meant for the caller goes to the log. Throws nothing itself,
     * whatever the throwable's own methods do: the task would never end.
     */
    static Outcome failure(Throwable thrown, Task task) {
        try {
            return described(unwrapped(thrown), task);
        } catch (Throwable e) {
            return wordless(e);
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

    private static Outcome described(Throwable cause, Task task) {
        if (cause instanceof NffiException error) {
            return error(error.status(), String.valueOf(error.getMessage()));
        }
        if (task.isCancelled()) {
            // Interrupted, most likely, as it was meant to be; nobody gets the answer.
            return CANCELLED;
        }
        Outcome outcome = error(1, Logs.text(cause));
        task.service().logTrace(task, "", cause);
        return outcome;
    }
}
