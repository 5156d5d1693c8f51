package io.github.nffi.http;

import java.io.IOException;
import java.nio.file.Path;

/**
 * A request and its answer. The answer is one of {@link #send}, {@link #sendFile}, {@link #start} and {@link #upgrade},
 * and is complete when the handler is done. Any thread may use it, one at a time.
 */
public interface HttpExchange {
    HttpRequest request();

    /** The headers of the answer, to be set before it begins. Content-Length is the handler's, framing is nginx's. */
    Headers headers();

    /** What follows the body, where the client's protocol has such a thing; nginx drops it elsewhere. */
    Headers trailers();

    /**
     * The whole answer. It goes out when the handler is done, with the answers of others.
     *
     * @param status 200 to 999
     * @param body must not be changed afterwards; null is none
     * @throws IllegalStateException where the answer has begun
     */
    void send(int status, byte[] body);

    /** The whole answer, as UTF-8. Where no Content-Type is set, it is text/plain. */
    void send(int status, String text);

    /**
     * The whole answer, from a file, which nginx sends. It must not shrink meanwhile. Where no Content-Length is set, it
     * is the length. Waits while the client has not taken what is on its way.
     *
     * @param length -1: to the file's end
     * @throws IOException where the file cannot be opened, or is shorter: then nothing was sent yet; or where the client
     *         has gone
     * @throws IllegalStateException where the answer has begun
     */
    void sendFile(int status, Path file, long offset, long length) throws IOException;

    default void sendFile(int status, Path file) throws IOException {
        sendFile(status, file, 0, -1);
    }

    /**
     * Begins an answer that comes piece by piece. The head goes with the first piece; {@code flush()} sends it at once.
     *
     * @param status 200 to 999
     * @throws IllegalStateException where the answer has begun
     */
    HttpOutput start(int status);

    /**
     * Sends a status that comes before the answer, as 103, at once where nginx can.
     *
     * @param status 102 to 199
     * @throws IOException where the client has gone
     */
    void inform(int status, Headers headers) throws IOException;

    /**
     * Answers with 101 and {@link #headers}, among which Upgrade belongs. From here on the connection is the handler's,
     * and ends when the handler is done.
     *
     * @throws IllegalStateException where {@link HttpRequest#canUpgrade} is false, or the answer has begun
     * @throws IOException where the client has gone
     */
    HttpConnection upgrade() throws IOException;

    /** Has the client gone? Whatever is answered then is dropped. */
    boolean isCancelled();

    /**
     * Runs the action when the client has gone: at once where it has already, never once the request has ended. It runs
     * on the thread that takes requests in, and must return soon.
     */
    void onCancel(Runnable action);
}
