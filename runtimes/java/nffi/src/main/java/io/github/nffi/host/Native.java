package io.github.nffi.host;

import java.nio.ByteBuffer;

/** What libnffi_java.so gives to Java. {@code table} is the host's, {@code queue} the runtime's. */
final class Native {
    private Native() {
    }

    static native int exchange(long table, long queue, long out, int answers, long into, int room, int max, int timeout);

    static native long address(ByteBuffer direct);

    static native int reply(long table, long task, int status, byte[] data, int length);

    static native int write(long table, long task, byte[] data, int offset, int length);

    static native int end(long table, long task, int status);

    /** Null, but for a piece; what the host returned is put into {@code result[0]}. */
    static native byte[] read(long table, long task, int[] result);

    static native void fetch(long address, byte[] into, int length);

    static native int cancelled(long table, long task);

    static native void log(long table, long queue, long task, int level, byte[] text);

    static native void stopped(long table, long queue);
}
