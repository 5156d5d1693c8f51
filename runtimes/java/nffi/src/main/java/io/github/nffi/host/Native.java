package io.github.nffi.host;

import java.io.FileDescriptor;
import java.nio.ByteBuffer;

/** What libnffi_java.so gives to Java. {@code table} is the host's, {@code queue} the runtime's. */
final class Native {
    private Native() {
    }

    static native int exchange(long table, long queue, long out, int answers, long into, int room, int max, int timeout);

    static native long address(ByteBuffer direct);

    /** Head and trailers are as Heads makes them, and of no bytes where there are none. */
    static native int reply(long table, long task, int status, byte[] head, byte[] trailers, byte[] data);

    static native int write(long table, long task, byte[] head, byte[] data, int offset, int length);

    static native int file(long table, long task, byte[] head, FileDescriptor file, long offset, long length);

    static native int inform(long table, long task, byte[] head);

    /** Null, but for a piece; what the host returned is put into {@code result[0]}. */
    static native byte[] read(long table, long task, int[] result);

    static native void fetch(long address, byte[] into, int offset, int length);

    /** How many bytes came, or an errno below 0. */
    static native int pread(int fd, long position, byte[] into, int offset, int length);

    static native byte[] request(long address);

    static native boolean hasHttp(long table);

    static native int cancelled(long table, long task);

    static native void log(long table, long queue, long task, int level, byte[] text);

    static native void stopped(long table, long queue);
}
