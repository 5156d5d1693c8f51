package io.github.nffi.host;

import java.io.FileDescriptor;
import java.nio.ByteBuffer;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.locks.StampedLock;

/**
 * A host that nothing reaches after {@link #stopped}, whatever thread of a handler's still holds a request or writes a
 * line. Every call holds the lock for reading; stopped() takes it for writing, and never gives it back.
 *
 * <p>
 * tryReadLock() needs no memory and never waits for a reader: it fails only once the lock is taken for writing.
 */
final class Gate implements Host {
    private final Host host;
    private final StampedLock lock = new StampedLock();
    private final AtomicBoolean closing = new AtomicBoolean();

    Gate(Host host) {
        this.host = host;
    }

    /** 0: closed. */
    private long enter() {
        // Asked first: readers that come and go would keep the writer waiting.
        return closing.get() ? 0 : lock.tryReadLock();
    }

    /** Touches memory of Java's only. */
    @Override
    public long address(ByteBuffer direct) {
        return host.address(direct);
    }

    /** Not held up here, since it waits: called by loops' threads only, the last of which says stopped(). */
    @Override
    public int exchange(Batch batch, int answers, int max, int timeoutMillis) {
        return host.exchange(batch, answers, max, timeoutMillis);
    }

    @Override
    public int reply(long task, Outcome outcome) {
        long stamp = enter();
        if (stamp == 0) {
            return BAD;
        }
        try {
            return host.reply(task, outcome);
        } finally {
            lock.unlockRead(stamp);
        }
    }

    @Override
    public int write(long task, byte[] head, byte[] data, int offset, int length) {
        long stamp = enter();
        if (stamp == 0) {
            return GONE;
        }
        try {
            return host.write(task, head, data, offset, length);
        } finally {
            lock.unlockRead(stamp);
        }
    }

    @Override
    public int file(long task, byte[] head, FileDescriptor file, long offset, long length) {
        long stamp = enter();
        if (stamp == 0) {
            return GONE;
        }
        try {
            return host.file(task, head, file, offset, length);
        } finally {
            lock.unlockRead(stamp);
        }
    }

    @Override
    public int inform(long task, byte[] head) {
        long stamp = enter();
        if (stamp == 0) {
            return GONE;
        }
        try {
            return host.inform(task, head);
        } finally {
            lock.unlockRead(stamp);
        }
    }

    @Override
    public byte[] read(long task, int[] result) {
        long stamp = enter();
        if (stamp == 0) {
            result[0] = GONE;
            return null;
        }
        try {
            return host.read(task, result);
        } finally {
            lock.unlockRead(stamp);
        }
    }

    /** Of an event that {@link #exchange} brought, whose task has not ended: then stopped() was not said. */
    @Override
    public void fetch(long address, byte[] into, int offset, int length) {
        host.fetch(address, into, offset, length);
    }

    /** As {@link #fetch}. */
    @Override
    public int pread(int fd, long position, byte[] into, int offset, int length) {
        return host.pread(fd, position, into, offset, length);
    }

    /** As {@link #fetch}. */
    @Override
    public byte[] request(long address) {
        return host.request(address);
    }

    @Override
    public boolean hasHttp() {
        return host.hasHttp();
    }

    /** True also once all is over. */
    @Override
    public boolean cancelled(long task) {
        long stamp = enter();
        if (stamp == 0) {
            return true;
        }
        try {
            return host.cancelled(task);
        } finally {
            lock.unlockRead(stamp);
        }
    }

    @Override
    public void log(long task, int level, byte[] text) {
        long stamp = enter();
        if (stamp == 0) {
            return;
        }
        try {
            host.log(task, level, text);
        } finally {
            lock.unlockRead(stamp);
        }
    }

    /** The last word. Waits for calls that are under way on other threads. */
    @Override
    public void stopped() {
        if (closing.compareAndSet(false, true)) {
            lock.writeLock();
            host.stopped();
        }
    }
}
