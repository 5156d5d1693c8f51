package io.github.nffi.host;

import java.nio.ByteBuffer;

/** The host's functions, for one runtime. Tests have one of their own. include/nffi.h is what they do. */
interface Host {
    int CALL = 1;
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

    int reply(long task, int status, byte[] data);

    int write(long task, byte[] data, int offset, int length);

    byte[] read(long task, int[] result);

    void fetch(long address, byte[] into);

    boolean cancelled(long task);

    void log(long task, int level, byte[] text);

    void stopped();
}
