package io.github.nffi.http;

import io.github.nffi.Config;
import java.util.concurrent.CompletableFuture;

/**
 * Answers HTTP requests by futures. {@code handle} runs on the thread that takes requests in, and must return soon;
 * whatever waits or computes for long belongs on an executor of the handler's own. The class needs a constructor without
 * parameters.
 */
@FunctionalInterface
public interface AsyncHttpHandler {
    /**
     * Called once, before any request. An exception is the runtime's failure to start, with its message. Options that
     * were never asked for are refused after it.
     *
     * @param config the options of nginx.conf that nffi does not know
     */
    default void init(Config config) throws Exception {
    }

    /**
     * Begins to answer a request. Where the client has gone meanwhile, the future gets {@code cancel(true)}.
     *
     * @return done when the answer is complete. It may fail, as {@link HttpHandler#handle} may
     * @throws Exception as if the future had failed with it
     */
    CompletableFuture<Void> handle(HttpExchange exchange) throws Exception;

    /** Called once, when the runtime has been told to stop and every future is done. */
    default void close() throws Exception {
    }
}
