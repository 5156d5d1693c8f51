package io.github.nffi.host;

import java.io.FileDescriptor;
import java.nio.ByteBuffer;

/** The host behind libnffi_java.so. */
final class NativeHost implements Host {
    private final long table;
    private final long queue;

    NativeHost(long table, long queue) {
        this.table = table;
        this.queue = queue;
    }

    @Override
    public long address(ByteBuffer direct) {
        return Native.address(direct);
    }

    @Override
    public int exchange(Batch batch, int answers, int max, int timeoutMillis) {
        return Native.exchange(table, queue, batch.outAddress, answers, batch.inAddress, Batch.ROOM, max, timeoutMillis);
    }

    @Override
    public int reply(long task, Outcome outcome) {
        return Native.reply(table, task, outcome.status(), outcome.head(), outcome.trailers(), outcome.data());
    }

    @Override
    public int write(long task, byte[] head, byte[] data, int offset, int length) {
        return Native.write(table, task, head, data, offset, length);
    }

    @Override
    public int file(long task, byte[] head, FileDescriptor file, long offset, long length) {
        return Native.file(table, task, head, file, offset, length);
    }

    @Override
    public int inform(long task, byte[] head) {
        return Native.inform(table, task, head);
    }

    @Override
    public byte[] read(long task, int[] result) {
        return Native.read(table, task, result);
    }

    @Override
    public void fetch(long address, byte[] into, int offset, int length) {
        Native.fetch(address, into, offset, length);
    }

    @Override
    public int pread(int fd, long position, byte[] into, int offset, int length) {
        return Native.pread(fd, position, into, offset, length);
    }

    @Override
    public byte[] request(long address) {
        return Native.request(address);
    }

    @Override
    public boolean hasHttp() {
        return Native.hasHttp(table);
    }

    @Override
    public boolean cancelled(long task) {
        return Native.cancelled(table, task) == 1;
    }

    @Override
    public void log(long task, int level, byte[] text) {
        Native.log(table, queue, task, level, text);
    }

    @Override
    public void stopped() {
        Native.stopped(table, queue);
    }
}
