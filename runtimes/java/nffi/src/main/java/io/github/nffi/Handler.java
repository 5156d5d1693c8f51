package io.github.nffi;

/**
 * Answers requests, one at a time on each of its threads. It may block: the option {@code threads} says how many calls
 * run at once. The class needs a constructor without parameters; one object serves all calls, on many threads.
 */
@FunctionalInterface
public interface Handler {
    /**
     * Called once, before any request. An exception is the runtime's failure to start, with its message. Options that
     * were never asked for are refused after it.
     *
     * @param config the options of nginx.conf that nffi does not know
     */
    default void init(Config config) throws Exception {
    }

    /**
     * Answers a request. Interrupted where the caller has gone meanwhile.
     *
     * @return the answer; null is an answer of no bytes. The array must not be changed afterwards
     * @throws NffiException for an answer with a status and a message
     * @throws Exception any other: status 1, its class and message, and a stack trace in error.log
     */
    byte[] call(Request request) throws Exception;

    /** Called once, when the runtime has been told to stop and no call runs any more. */
    default void close() throws Exception {
    }
}
