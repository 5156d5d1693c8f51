package io.github.nffi.host;

import java.io.IOException;
import java.io.InputStream;
import java.util.Objects;
import java.util.concurrent.locks.ReentrantLock;

/**
 * A whole body that the host lends until its task ends, in memory or as a file. It is copied once, to where the handler
 * wants it. {@link #giveBack} waits for a copy that is under way, and none begins after it.
 */
final class LentBody extends InputStream {
    /** At once: giveBack() does not wait for longer. */
    private static final int MOST = 1 << 20;

    private final Host host;
    /** In memory; 0 of a file. */
    private final long address;
    private final int fd;
    /** Of a file -1 where the client has not said it. */
    private final long length;

    private final ReentrantLock lock = new ReentrantLock();
    private long position;
    private boolean givenBack;

    private LentBody(Host host, long address, int fd, long length) {
        this.host = host;
        this.address = address;
        this.fd = fd;
        this.length = length;
    }

    static LentBody inMemory(Host host, long address, long length) {
        return new LentBody(host, address, -1, length);
    }

    static LentBody inFile(Host host, int fd, long length) {
        return new LentBody(host, 0, fd, length);
    }

    void giveBack() {
        lock.lock();
        givenBack = true;
        lock.unlock();
    }

    @Override
    public int read() throws IOException {
        byte[] one = new byte[1];
        return read(one, 0, 1) < 0 ? -1 : one[0] & 0xff;
    }

    @Override
    public int read(byte[] into, int offset, int wanted) throws IOException {
        Objects.checkFromIndexSize(offset, wanted, into.length);
        if (wanted == 0) {
            return 0;
        }
        lock.lock();
        try {
            if (givenBack) {
                throw new IOException("the request has been answered");
            }
            int count = Math.min(wanted, MOST);
            if (fd < 0) {
                count = (int) Math.min(count, length - position);
                host.fetch(address + position, into, offset, count);
            } else {
                count = host.pread(fd, position, into, offset, count);
                if (count < 0) {
                    throw new IOException("the file that nginx keeps the body in cannot be read: errno " + -count);
                }
            }
            position += count;
            return count == 0 ? -1 : count;
        } finally {
            lock.unlock();
        }
    }

    @Override
    public byte[] readAllBytes() throws IOException {
        if (length < 0) {
            return super.readAllBytes();
        }
        long left = length - position;
        if (left > Integer.MAX_VALUE - 8) {
            throw new OutOfMemoryError("a body of " + left + " bytes");
        }
        byte[] all = new byte[(int) left];
        for (int at = 0; at < all.length;) {
            int count = read(all, at, all.length - at);
            if (count < 0) {
                throw new IOException("the file that nginx keeps the body in is too short");
            }
            at += count;
        }
        return all;
    }

    @Override
    public int available() {
        return length < 0 ? 0 : (int) Math.min(length - position, Integer.MAX_VALUE);
    }
}
