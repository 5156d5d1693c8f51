package io.github.nffi.http;

import io.github.nffi.Config;

/**
 * Answers HTTP requests, one at a time on each of its threads. It may block: the option {@code threads} says how many
 * requests are worked on at once. The class needs a constructor without parameters; one object serves all requests.
 */
@FunctionalInterface
public interface HttpHandler {
    /**
     * Called once, before any request. An exception is the runtime's failure to start, with its message. Options that
     * were never asked for are refused after it.
     *
     * @param config the options of nginx.conf that nffi does not know
     */
    default void init(Config config) throws Exception {
    }

    /**
     * Answers a request. The answer is complete when this returns. Interrupted where the client has gone meanwhile.
     *
     * @throws Exception a stack trace in error.log, and 500 to the client; where the head has been sent already, the
     *         connection is cut
     */
    void handle(HttpExchange exchange) throws Exception;

    /** Called once, when the runtime has been told to stop and no request is worked on any more. */
    default void close() throws Exception {
    }
}
