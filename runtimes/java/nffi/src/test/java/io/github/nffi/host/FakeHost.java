package io.github.nffi.host;

import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;

import java.nio.ByteBuffer;
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
            byte[] data = new byte[out.getInt()];
            out.get(data);
            out.position(out.position() + 7 & ~7);
            reply(task, status, data);
        }
        return max == 0 ? 0 : poll(batch.in, max, timeoutMillis);
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
            if (in.remaining() < events.peek().data.length + 56) {
                break;
            }
            Event event = events.poll();
            int begin = in.position();
            in.putInt(event.kind).putInt(event.flags).putLong(event.task).putLong(0).putLong(0);
            in.putLong(event.data.length).putLong(1).put(event.data);
            in.position(begin + 48 + (event.data.length + 7 & ~7));
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
    public int reply(long task, int status, byte[] data) {
        touch("reply");
        onReply.run();
        touch("the end of a reply");
        Answer before = answers.put(task, new Answer(status, new String(data, StandardCharsets.UTF_8)));
        if (before != null) {
            errors.add("task " + task + " was answered twice");
        }
        return OK;
    }

    @Override
    public int write(long task, byte[] data, int offset, int length) {
        touch("write");
        written.add(new String(data, offset, length, StandardCharsets.UTF_8));
        return window;
    }

    @Override
    public synchronized byte[] read(long task, int[] result) {
        touch("read");
        String piece = pieces.poll();
        result[0] = piece == null ? EOF : piece.equals("AGAIN") ? AGAIN : OK;
        return result[0] == OK ? piece.getBytes(StandardCharsets.UTF_8) : null;
    }

    @Override
    public void fetch(long address, byte[] into) {
        errors.add("fetch: all requests are inlined here");
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
