package io.github.nffi.http;

import java.io.InputStream;
import java.util.concurrent.CompletableFuture;

/** A connection after 101: bytes both ways. One thread may read while another writes. */
public interface HttpConnection {
    /** Its end is the client's end of the connection. Reading waits. */
    InputStream input();

    /** What {@link #input} would read next, without waiting: as {@link HttpRequest#readAsync}. */
    CompletableFuture<byte[]> readAsync();

    /** Gathers up to 16 KiB until it is flushed. Writing waits while the client has not taken what is on its way. */
    HttpOutput output();
}
