package io.github.nffi.host;

import io.github.nffi.http.HttpOutput;
import java.io.ByteArrayOutputStream;
import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.InterruptedIOException;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;

/** A task's request and answer as pieces: the one side waits for READABLE, the other for WRITABLE. */
final class Pieces {
    private static final int PIECE = 16 * 1024;
    /** Of an HTTP answer: a slow client is felt before the next. */
    private static final int MOST = 64 * 1024;

    private final Host host;
    private final long task;
    private final int most;

    /** The piece that is being read, and how far. Null once {@link #input} has used it up. */
    private byte[] piece;
    private int read;
    /** The host has more of the request. */
    private boolean more;
    private boolean taken;

    private Output output;
    /** What goes before the first piece of an HTTP answer; of no bytes where it has gone, or there is none. */
    private byte[] head = Outcome.NOTHING;

    /** Made when first needed: most tasks are one piece each way. Guarded by this. */
    private Signals signals;
    /** Why no piece comes or goes any more; null while they do. */
    private String closed;

    /** Of a message. */
    Pieces(Host host, long task, byte[] first, boolean more) {
        this(host, task, first, more, Integer.MAX_VALUE);
    }

    private Pieces(Host host, long task, byte[] first, boolean more, int most) {
        this.host = host;
        this.task = task;
        this.piece = first;
        this.more = more;
        this.most = most;
    }

    static Pieces ofHttp(Host host, long task, boolean more) {
        return new Pieces(host, task, Outcome.NOTHING, more, MOST);
    }

    private static final class Signals {
        final ReentrantLock lock = new ReentrantLock();
        final Condition changed = lock.newCondition();
        boolean readable;
        boolean writable;
        /** Of those that do not wait; null where there is none. */
        CompletableFuture<Void> whenReadable;
        CompletableFuture<Void> whenWritable;
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
        CompletableFuture<Void> reader = null;
        CompletableFuture<Void> writer = null;
        s.lock.lock();
        try {
            s.readable |= readable;
            s.writable |= writable;
            s.changed.signalAll();
            boolean over = isClosed();
            if (readable || over) {
                reader = s.whenReadable;
                s.whenReadable = null;
            }
            if (writable || over) {
                writer = s.whenWritable;
                s.whenWritable = null;
            }
        } finally {
            s.lock.unlock();
        }
        complete(reader);
        complete(writer);
    }

    private void complete(CompletableFuture<Void> waiting) {
        if (waiting == null) {
            return;
        }
        try {
            checkOpen();
            waiting.complete(null);
        } catch (IOException e) {
            waiting.completeExceptionally(e);
        }
    }

    private synchronized boolean isClosed() {
        return closed != null;
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

    /** As {@link #waitFor}, without waiting. */
    private CompletableFuture<Void> when(boolean reading) throws IOException {
        Signals s = signals();
        s.lock.lock();
        try {
            if (reading ? s.readable : s.writable) {
                return CompletableFuture.completedFuture(null);
            }
            checkOpen();
            CompletableFuture<Void> waiting = reading ? s.whenReadable : s.whenWritable;
            if (waiting == null) {
                waiting = new CompletableFuture<>();
                if (reading) {
                    s.whenReadable = waiting;
                } else {
                    s.whenWritable = waiting;
                }
            }
            return waiting;
        } finally {
            s.lock.unlock();
        }
    }

    /** What {@link #input} would read next, or null at the end. Does not wait. */
    CompletableFuture<byte[]> readAsync() {
        try {
            if (piece != null && read < piece.length) {
                byte[] rest = read == 0 ? piece : Arrays.copyOfRange(piece, read, piece.length);
                read = piece.length;
                return CompletableFuture.completedFuture(rest);
            }
            if (!more) {
                return CompletableFuture.completedFuture(null);
            }
            int[] result = {Host.BAD};
            byte[] next = tryRead(result);
            return switch (result[0]) {
                case Host.OK -> CompletableFuture.completedFuture(next);
                case Host.AGAIN -> when(true).thenCompose(readable -> readAsync());
                case Host.EOF -> {
                    more = false;
                    yield CompletableFuture.completedFuture(null);
                }
                default -> throw goneError();
            };
        } catch (IOException e) {
            return CompletableFuture.failedFuture(e);
        }
    }

    private byte[] tryRead(int[] result) throws IOException {
        checkOpen();
        Signals s = signals();
        s.lock.lock();
        s.readable = false;
        s.lock.unlock();
        return host.read(task, result);
    }

    /** The next piece after the first, or null at the end. */
    private byte[] nextPiece() throws IOException {
        if (!more) {
            return null;
        }
        int[] result = {Host.BAD};
        for (;;) {
            byte[] next = tryRead(result);
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

    /** An answer with this head comes in pieces. */
    void begin(byte[] head) {
        this.head = head;
    }

    /** Has the answer's head not gone yet? */
    boolean headWaits() {
        return head.length > 0;
    }

    byte[] takeHead() {
        byte[] taken = head;
        head = Outcome.NOTHING;
        return taken;
    }

    void inform(byte[] head) throws IOException {
        checkOpen();
        if (host.inform(task, head) != Host.OK) {
            throw goneError();
        }
    }

    /** From here on both sides are the connection's bytes. */
    void upgrade(byte[] head) throws IOException {
        inform(head);
        piece = Outcome.NOTHING;
        read = 0;
        more = true;
    }

    HttpOutput output() {
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

    private final class Output extends HttpOutput {
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
            if (used > 0 && length > PIECE - used) {
                flush();
            }
            if (length >= PIECE) {
                for (int sent = 0; sent < length; sent += Math.min(most, length - sent)) {
                    send(from, offset + sent, Math.min(most, length - sent));
                }
            } else {
                System.arraycopy(from, offset, buffer, used, length);
                used += length;
            }
        }

        @Override
        public void flush() throws IOException {
            // A head alone goes with a piece of no bytes.
            if (used > 0 || headWaits()) {
                int length = used;
                used = 0;
                send(buffer, 0, length);
            }
        }

        @Override
        public void writeFile(Path file, long offset, long length) throws IOException {
            try (FileInputStream open = Exchange.open(file)) {
                writeFile(open.getFD(), offset, length);
            }
        }

        @Override
        public void writeFile(FileDescriptor file, long offset, long length) throws IOException {
            if (used > 0) {
                flush();
            }
            beforePiece();
            int result = host.file(task, takeHead(), file, offset, length);
            if (result == Host.BAD) {
                checkOpen();
                throw new IOException("no regular file, or it has not " + length + " bytes from " + offset + " on");
            }
            afterPiece(result);
        }

        @Override
        public CompletableFuture<Void> sendAsync(byte[] piece) {
            byte[] whole = last(piece);
            used = 0;
            return sendAsync(whole, 0);
        }

        private CompletableFuture<Void> sendAsync(byte[] from, int offset) {
            try {
                for (int at = offset;;) {
                    int length = Math.min(most, from.length - at);
                    beforePiece();
                    int result = host.write(task, takeHead(), from, at, length);
                    at += length;
                    if (result == Host.FULL) {
                        int next = at;
                        return next == from.length ? when(false) : when(false).thenCompose(open -> sendAsync(from, next));
                    }
                    if (result != Host.OK) {
                        throw goneError();
                    }
                    if (at == from.length) {
                        return CompletableFuture.completedFuture(null);
                    }
                }
            } catch (IOException e) {
                return CompletableFuture.failedFuture(e);
            }
        }

        private void send(byte[] from, int offset, int length) throws IOException {
            beforePiece();
            afterPiece(host.write(task, takeHead(), from, offset, length));
        }

        private void beforePiece() throws IOException {
            checkOpen();
            Signals s = signals();
            s.lock.lock();
            s.writable = false;
            s.lock.unlock();
        }

        private void afterPiece(int result) throws IOException {
            switch (result) {
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
