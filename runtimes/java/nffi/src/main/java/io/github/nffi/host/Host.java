package io.github.nffi.host;

import java.io.FileDescriptor;
import java.nio.ByteBuffer;

/** The host's functions, for one runtime. Tests have one of their own. include/nffi.h is what they do. */
interface Host {
    int CALL = 1;
    int HTTP = 2;
    int READABLE = 3;
    int WRITABLE = 4;
    int CANCEL = 5;
    int STOP = 6;

    int MORE = 1;
    int CAST = 4;

    int OK = 0;
    int FULL = 1;
    int AGAIN = 2;
    int EOF = 3;
    int GONE = -1;
    int BAD = -2;

    int ERR = 3;
    int WARN = 4;
    int NOTICE = 5;
    int INFO = 6;
    int DEBUG = 7;

    /** Of a direct buffer, once, for {@link Batch}. */
    long address(ByteBuffer direct);

    /** Sends the first {@code answers} records of the batch, then polls. Returns how many events came. */
    int exchange(Batch batch, int answers, int max, int timeoutMillis);

    /** Of an HTTP answer the head and the trailers go first, where they are there. */
    int reply(long task, Outcome outcome);

    /** Where there is a head (it has bytes) it goes first; if it does not go, no more is done. */
    int write(long task, byte[] head, byte[] data, int offset, int length);

    /** As {@link #write}, with a part of a file. */
    int file(long task, byte[] head, FileDescriptor file, long offset, long length);

    /** A status of 1xx. */
    int inform(long task, byte[] head);

    byte[] read(long task, int[] result);

    /** Copies what the host lends for a task that has not ended. */
    void fetch(long address, byte[] into, int offset, int length);

    /** The same of a file that it lends: how many bytes came, 0 at the end, or an errno below 0. */
    int pread(int fd, long position, byte[] into, int offset, int length);

    /** The HTTP request at that address, as {@link RequestHead} reads it. */
    byte[] request(long address);

    boolean hasHttp();

    boolean cancelled(long task);

    void log(long task, int level, byte[] text);

    void stopped();

    static boolean isRequest(int kind) {
        return kind == CALL || kind == HTTP;
    }
}
