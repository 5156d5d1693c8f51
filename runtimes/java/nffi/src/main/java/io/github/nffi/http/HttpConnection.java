package io.github.nffi.http;

import java.io.InputStream;
import java.io.OutputStream;

/** A connection after 101: bytes both ways. One thread may read while another writes. */
public interface HttpConnection {
    /** Its end is the client's end of the connection. Reading waits. */
    InputStream input();

    /** Gathers up to 16 KiB until it is flushed. Writing waits while the client has not taken what is on its way. */
    OutputStream output();
}
