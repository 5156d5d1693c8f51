package io.github.nffi.host;

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
    public int reply(long task, int status, byte[] data) {
        return Native.reply(table, task, status, data, data.length);
    }

    @Override
    public int write(long task, byte[] data, int offset, int length) {
        return Native.write(table, task, data, offset, length);
    }

    @Override
    public byte[] read(long task, int[] result) {
        return Native.read(table, task, result);
    }

    @Override
    public void fetch(long address, byte[] into) {
        Native.fetch(address, into, into.length);
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
