package io.github.nffi.host;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.InterruptedIOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.util.Arrays;
import java.util.Objects;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;

/** A task's request and answer as pieces: the one side waits for READABLE, the other for WRITABLE. */
final class Pieces {
    private static final int PIECE = 16 * 1024;

    private final Host host;
    private final long task;

    /** The piece that is being read, and how far. Null once {@link #input} has used it up. */
    private byte[] piece;
    private int read;
    /** The host has more of the request. */
    private boolean more;
    private boolean taken;

    private Output output;

    /** Made when first needed: most tasks are one piece each way. Guarded by this. */
    private Signals signals;
    /** Why no piece comes or goes any more; null while they do. */
    private String closed;

    Pieces(Host host, long task, byte[] first, boolean more) {
        this.host = host;
        this.task = task;
        this.piece = first;
        this.more = more;
    }

    private static final class Signals {
        final ReentrantLock lock = new ReentrantLock();
        final Condition changed = lock.newCondition();
        boolean readable;
        boolean writable;
    }

    private synchronized Signals signals() {
        if (signals == null) {
            signals = new Signals();
        }
        return signals;
    }

    /** Runs on: a loop's thread, as the next. */
    void readable() {
        signal(true, false);
    }

    void writable() {
        signal(false, true);
    }

    /** Wakes whoever waits, with an error. The first reason stays. Runs on: any. */
    void close(String why) {
        synchronized (this) {
            if (closed != null) {
                return;
            }
            closed = why;
            if (signals == null) {
                return;
            }
        }
        signal(false, false);
    }

    private void signal(boolean readable, boolean writable) {
        Signals s = signals();
        s.lock.lock();
        try {
            s.readable |= readable;
            s.writable |= writable;
            s.changed.signalAll();
        } finally {
            s.lock.unlock();
        }
    }

    private synchronized void checkOpen() throws IOException {
        if (closed != null) {
            throw new IOException(closed);
        }
    }

    /** Of a task that the host has none of any more. */
    private IOException goneError() throws IOException {
        checkOpen();
        return new IOException("the caller has gone");
    }

    private void waitFor(boolean reading) throws IOException {
        if (Thread.currentThread() instanceof LoopThread loop && loop.mayNotWait()) {
            throw new IllegalStateException("would wait on the thread that takes requests in: use a thread of your own");
        }
        Signals s = signals();
        s.lock.lock();
        try {
            while (!(reading ? s.readable : s.writable)) {
                checkOpen();
                s.changed.await();
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            InterruptedIOException io = new InterruptedIOException("interrupted while waiting for the caller");
            io.initCause(e);
            throw io;
        } finally {
            s.lock.unlock();
        }
    }

    /** The next piece after the first, or null at the end. */
    private byte[] nextPiece() throws IOException {
        if (!more) {
            return null;
        }
        int[] result = {Host.BAD};
        for (;;) {
            checkOpen();
            Signals s = signals();
            s.lock.lock();
            s.readable = false;
            s.lock.unlock();
            byte[] next = host.read(task, result);
            switch (result[0]) {
                case Host.OK:
                    return next;
                case Host.AGAIN:
                    waitFor(true);
                    break;
                case Host.EOF:
                    more = false;
                    return null;
                default:
                    throw goneError();
            }
        }
    }

    byte[] all() {
        if (taken) {
            throw new IllegalStateException("the request is being read by input()");
        }
        if (!more) {
            return piece;
        }
        try {
            ByteArrayOutputStream whole = new ByteArrayOutputStream();
            whole.write(piece);
            for (byte[] next = nextPiece(); next != null; next = nextPiece()) {
                whole.write(next);
            }
            piece = whole.toByteArray();
            return piece;
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    InputStream input() {
        taken = true;
        return new Input();
    }

    OutputStream output() {
        if (output == null) {
            output = new Output();
        }
        return output;
    }

    byte[] last(byte[] answer) {
        if (output == null || output.used == 0) {
            return answer;
        }
        byte[] last = Arrays.copyOf(output.buffer, output.used + answer.length);
        System.arraycopy(answer, 0, last, output.used, answer.length);
        return last;
    }

    private final class Input extends InputStream {
        @Override
        public int read() throws IOException {
            byte[] one = new byte[1];
            return read(one, 0, 1) < 0 ? -1 : one[0] & 0xff;
        }

        @Override
        public int read(byte[] into, int offset, int length) throws IOException {
            Objects.checkFromIndexSize(offset, length, into.length);
            if (length == 0) {
                return 0;
            }
            while (piece != null && read == piece.length) {
                piece = nextPiece();
                read = 0;
            }
            if (piece == null) {
                return -1;
            }
            int count = Math.min(length, piece.length - read);
            System.arraycopy(piece, read, into, offset, count);
            read += count;
            return count;
        }

        @Override
        public int available() {
            return piece == null ? 0 : piece.length - read;
        }
    }

    private final class Output extends OutputStream {
        private final byte[] buffer = new byte[PIECE];
        private int used;

        @Override
        public void write(int b) throws IOException {
            if (used == PIECE) {
                flush();
            }
            buffer[used++] = (byte) b;
        }

        @Override
        public void write(byte[] from, int offset, int length) throws IOException {
            Objects.checkFromIndexSize(offset, length, from.length);
            if (length > PIECE - used) {
                flush();
            }
            if (length >= PIECE) {
                send(from, offset, length);
            } else {
                System.arraycopy(from, offset, buffer, used, length);
                used += length;
            }
        }

        @Override
        public void flush() throws IOException {
            if (used > 0) {
                int length = used;
                used = 0;
                send(buffer, 0, length);
            }
        }

        private void send(byte[] from, int offset, int length) throws IOException {
            checkOpen();
            Signals s = signals();
            s.lock.lock();
            s.writable = false;
            s.lock.unlock();
            switch (host.write(task, from, offset, length)) {
                case Host.OK:
                    return;
                case Host.FULL:
                    waitFor(false);
                    return;
                default:
                    throw goneError();
            }
        }
    }
}
