package io.github.nffi.host;

import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;

import java.io.ByteArrayOutputStream;
import java.io.FileDescriptor;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;

/** A host that a test scripts. What is asked of it twice, or of a task that has ended, fails the test. */
final class FakeHost implements Host {
    record Event(int kind, int flags, long task, byte[] data) {
    }

    record Answer(int status, String text) {
    }

    /** What came of an HTTP answer besides its pieces. */
    static final class Http {
        volatile String head;
        volatile String trailers;
        final List<String> informed = new CopyOnWriteArrayList<>();
    }

    final Map<Long, Answer> answers = new ConcurrentHashMap<>();
    final List<String> log = new CopyOnWriteArrayList<>();
    final List<String> errors = new CopyOnWriteArrayList<>();
    final Set<Long> cancelled = ConcurrentHashMap.newKeySet();
    final CountDownLatch stopped = new CountDownLatch(1);
    /** Pieces that were written, in the order of their writes. */
    final List<String> written = new CopyOnWriteArrayList<>();
    /** Pieces of a request: "AGAIN" is that answer. */
    final Deque<String> pieces = new ArrayDeque<>();
    /** Called in each reply(). */
    volatile Runnable onReply = () -> { };
    /** What write() answers. */
    volatile int window = OK;
    /** Of HTTP requests. */
    final Map<Long, Http> http = new ConcurrentHashMap<>();
    /** What the host lends: by address, and by descriptor. */
    final Map<Long, byte[]> lent = new ConcurrentHashMap<>();
    volatile boolean hasHttp = true;
    final Set<Long> ended = ConcurrentHashMap.newKeySet();

    private final Deque<Event> events = new ArrayDeque<>();
    private final AtomicLong tasks = new AtomicLong(100);
    private boolean stop;

    long call(String request) {
        return call(request, 0);
    }

    long call(String request, int flags) {
        long task = tasks.incrementAndGet();
        add(new Event(CALL, flags, task, request.getBytes(StandardCharsets.UTF_8)));
        return task;
    }

    /** An HTTP request of a head that {@link #head} has made. */
    long http(byte[] head, int flags) {
        long task = tasks.incrementAndGet();
        http.put(task, new Http());
        add(new Event(HTTP, flags, task, head));
        return task;
    }

    /** A POST with a body in the block, or lent in memory at an address, or as a file. */
    static byte[] head(String path, int flags, byte[] inlined, long address, long length, int fd, String... headers) {
        String[] strings = {"POST", path, path, "q=a%20b&e", "/app", "http", "127.0.0.1", "127.0.0.2", "name"};
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        ByteBuffer numbers = ByteBuffer.allocate(1024).order(ByteOrder.nativeOrder());
        numbers.putInt(flags).putInt(1001).putInt(4711).putInt(80).putLong(length).putLong(address).putLong(length);
        numbers.putInt(fd).putInt(inlined.length > 0 ? 1 : 0).putInt(headers.length / 2).putInt(1);
        for (String string : strings) {
            numbers.putInt(string.getBytes(StandardCharsets.UTF_8).length);
            bytes.writeBytes(string.getBytes(StandardCharsets.UTF_8));
        }
        for (String string : headers) {
            numbers.putInt(string.length());
            bytes.writeBytes(string.getBytes(StandardCharsets.ISO_8859_1));
        }
        numbers.putInt(1).putInt(1);
        bytes.writeBytes("PV".getBytes(StandardCharsets.US_ASCII));
        bytes.writeBytes(inlined);
        ByteBuffer whole = ByteBuffer.allocate(numbers.position() + bytes.size());
        return whole.put(numbers.flip()).put(bytes.toByteArray()).array();
    }

    static byte[] head(String path, int flags, String body, String... headers) {
        byte[] bytes = body.getBytes(StandardCharsets.UTF_8);
        return head(path, flags, bytes, 0, bytes.length, -1, headers);
    }

    /** With a body in a file. */
    static byte[] headOfFile(int fd, long length) {
        byte[] head = head("/", 2, new byte[0], 0, length, fd);
        // Not in memory: there it has no length.
        ByteBuffer.wrap(head).putLong(32, 0);
        return head;
    }

    private static String decoded(byte[] head) {
        ByteBuffer numbers = ByteBuffer.wrap(head).order(ByteOrder.nativeOrder());
        StringBuilder text = new StringBuilder().append(numbers.getInt());
        int count = numbers.getInt();
        int at = 8 + 8 * count;
        for (int i = 0; i < count; i++) {
            int name = numbers.getInt();
            int value = numbers.getInt();
            text.append("; ").append(new String(head, at, name, StandardCharsets.ISO_8859_1)).append(": ")
                    .append(new String(head, at + name, value, StandardCharsets.ISO_8859_1));
            at += name + value;
        }
        return text.toString();
    }

    private void given(long task, byte[] head) {
        if (head.length > 0) {
            Http request = http.get(task);
            if (request.head != null) {
                errors.add("task " + task + " has a second head");
            }
            request.head = decoded(head);
        }
    }

    void cancel(long task) {
        cancelled.add(task);
        signal(CANCEL, task);
    }

    void signal(int kind, long task) {
        add(new Event(kind, 0, task, new byte[0]));
    }

    synchronized void stop() {
        stop = true;
        notifyAll();
    }

    private synchronized void add(Event event) {
        events.add(event);
        notifyAll();
    }

    /** How many pieces have not been read yet. */
    synchronized int piecesLeft() {
        return pieces.size();
    }

    /** Waits for the answer. */
    Answer answer(long task) {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(10);
        while (!answers.containsKey(task) && System.nanoTime() < end) {
            Thread.onSpinWait();
        }
        Answer answer = answers.get(task);
        assertNotNull(answer, "no answer in 10 s");
        return answer;
    }

    @Override
    public long address(ByteBuffer direct) {
        return 0;
    }

    @Override
    public int exchange(Batch batch, int count, int max, int timeoutMillis) {
        touch("exchange");
        ByteBuffer out = batch.out.duplicate().order(batch.out.order());
        out.clear();
        for (int i = 0; i < count; i++) {
            long task = out.getLong();
            int status = out.getInt();
            int head = out.getInt();
            int trailers = out.getInt();
            int data = out.getInt();
            reply(task, new Outcome(status, part(out, head), part(out, trailers), part(out, data)));
        }
        return max == 0 ? 0 : poll(batch.in, max, timeoutMillis);
    }

    private static byte[] part(ByteBuffer out, int length) {
        byte[] part = new byte[length];
        out.get(part);
        out.position(out.position() + 7 & ~7);
        return part;
    }

    private synchronized int poll(ByteBuffer in, int max, int timeoutMillis) {
        try {
            while (events.isEmpty() && !stop && timeoutMillis != 0) {
                wait();
            }
        } catch (InterruptedException e) {
            errors.add("a polling thread was interrupted");
        }
        in.clear();
        int taken = 0;
        for (; taken < max && !events.isEmpty(); taken++) {
            boolean inlined = events.peek().data.length + 56 <= Batch.ROOM;
            if (in.remaining() < (inlined ? events.peek().data.length : 0) + 56) {
                break;
            }
            Event event = events.poll();
            int begin = in.position();
            in.putInt(event.kind).putInt(event.flags).putLong(event.task).putLong(0).putLong(event.task);
            in.putLong(event.data.length).putLong(inlined ? 1 : 0);
            if (inlined) {
                in.put(event.data);
            } else {
                lent.put(event.task, event.data);
            }
            in.position(begin + 48 + (inlined ? event.data.length + 7 & ~7 : 0));
        }
        if (taken == 0 && stop) {
            in.putInt(STOP).putInt(0).putLong(0).putLong(0).putLong(0).putLong(0).putLong(0);
            taken = 1;
        }
        return taken;
    }

    /** Nothing may touch the host after stopped(). */
    private void touch(String what) {
        if (stopped.getCount() == 0) {
            errors.add(what + " after stopped()");
        }
    }

    @Override
    public int reply(long task, Outcome outcome) {
        touch("reply");
        onReply.run();
        touch("the end of a reply");
        if (http.containsKey(task)) {
            given(task, outcome.head());
            http.get(task).trailers = outcome.trailers().length == 0 ? null : decoded(outcome.trailers());
        }
        ended.add(task);
        Answer before = answers.put(task, new Answer(outcome.status(), new String(outcome.data(), StandardCharsets.UTF_8)));
        if (before != null) {
            errors.add("task " + task + " was answered twice");
        }
        return OK;
    }

    @Override
    public int write(long task, byte[] head, byte[] data, int offset, int length) {
        touch("write");
        if (http.containsKey(task)) {
            given(task, head);
        }
        written.add(new String(data, offset, length, StandardCharsets.UTF_8));
        return window;
    }

    @Override
    public int file(long task, byte[] head, FileDescriptor file, long offset, long length) {
        touch("file");
        given(task, head);
        // The descriptor is the caller's still: a stream of its own would close it.
        try {
            FileInputStream in = new FileInputStream(file);
            in.getChannel().position(offset);
            written.add("file " + new String(in.readNBytes((int) length), StandardCharsets.UTF_8));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
        return window;
    }

    @Override
    public int inform(long task, byte[] head) {
        touch("inform");
        http.get(task).informed.add(decoded(head));
        return window == GONE ? GONE : OK;
    }

    @Override
    public synchronized byte[] read(long task, int[] result) {
        touch("read");
        String piece = pieces.poll();
        result[0] = piece == null ? EOF : piece.equals("AGAIN") ? AGAIN : OK;
        return result[0] == OK ? piece.getBytes(StandardCharsets.UTF_8) : null;
    }

    @Override
    public void fetch(long address, byte[] into, int offset, int length) {
        mayLend("fetch");
        // An address is a number for the whole times 1 << 32, and where in it.
        System.arraycopy(lent.get(address >> 32), (int) address, into, offset, length);
    }

    @Override
    public int pread(int fd, long position, byte[] into, int offset, int length) {
        mayLend("pread");
        byte[] file = lent.get((long) fd);
        // Short, as a read of a file may be.
        int count = Math.min(Math.min(length, 1000), file.length - (int) position);
        System.arraycopy(file, (int) position, into, offset, count);
        return count;
    }

    private void mayLend(String what) {
        touch(what);
        if (!ended.isEmpty()) {
            errors.add(what + " after the task's end");
        }
    }

    @Override
    public byte[] request(long address) {
        return lent.get(address);
    }

    @Override
    public boolean hasHttp() {
        return hasHttp;
    }

    @Override
    public boolean cancelled(long task) {
        touch("cancelled");
        return cancelled.contains(task);
    }

    @Override
    public void log(long task, int level, byte[] text) {
        touch("log");
        log.add(level + " " + (task == 0 ? "-" : "call") + " " + new String(text, StandardCharsets.UTF_8));
    }

    @Override
    public void stopped() {
        assertNull(stopped.getCount() == 0 ? "twice" : null, "stopped()");
        stopped.countDown();
    }
}
