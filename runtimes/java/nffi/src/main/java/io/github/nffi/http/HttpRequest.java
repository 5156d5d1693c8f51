package io.github.nffi.http;

import java.io.IOException;
import java.io.InputStream;
import java.util.Map;
import java.util.concurrent.CompletableFuture;

/**
 * What the client asked for. Bytes that are no ASCII are UTF-8 in {@link #path} and {@link #query(String)}; everywhere
 * else each is the character of its number (ISO 8859-1). Any thread may use it, but for the body, which is for one at a
 * time.
 */
public interface HttpRequest {
    String method();

    /** Decoded and normalised, the prefix still in it. */
    String path();

    /** As the client sent it, without the query; where nginx rewrote it, {@link #path} in percent-encoding. */
    String rawPath();

    /** As the client sent it, without the question mark; empty where there is none. */
    String query();

    /** The first value that the query has for a name, decoded; null where it has none. */
    String query(String name);

    /** Where the handler is mounted (nffi_prefix); empty where the path is not below it. */
    String prefix();

    /** "HTTP/1.1" */
    String version();

    /** "http" or "https" */
    String scheme();

    /** A number, or "unix:". */
    String clientAddress();

    /** 0 with a unix socket. */
    int clientPort();

    String serverAddress();

    /** 0 with a unix socket. */
    int serverPort();

    /** What the client asked for, else what is configured. */
    String serverName();

    /** In the client's order. They cannot be changed. */
    Headers headers();

    /** What nffi_param gave; the last of several of one name. */
    Map<String, String> params();

    /** Of the body; -1 where the client did not say, 0 where there is none. */
    long contentLength();

    /** Does the client ask to upgrade the connection, and can it be? */
    boolean canUpgrade();

    /**
     * The body, always the same stream. Where it comes while the request runs (nffi_request_buffering off), reading
     * waits for the next piece, and so slows the client down. It ends with the request, and fails where the client has
     * gone.
     */
    InputStream body();

    /**
     * The next piece of the body, without waiting: for an {@link AsyncHttpHandler}.
     *
     * @return null at its end. Done on the thread that takes requests in, where it was not at once. Fails with an
     *         IOException where the client has gone
     */
    CompletableFuture<byte[]> readAsync();

    /**
     * What of the body has not been read, whole.
     *
     * @throws IOException where the client has gone
     */
    byte[] bytes() throws IOException;
}
