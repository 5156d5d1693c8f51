package io.github.nffi.host;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/**
 * What one thread exchanges with the host: answers that wait to be sent, events that have come. The layouts are those
 * of exchange.rs. Only its thread uses it.
 */
final class Batch {
    static final int MOST = 64;
    static final int ROOM = 64 * 1024;

    private static final int ANSWER = 24;
    private static final int EVENT = 48;

    final ByteBuffer out = ByteBuffer.allocateDirect(ROOM).order(ByteOrder.nativeOrder());
    final ByteBuffer in = ByteBuffer.allocateDirect(ROOM).order(ByteOrder.nativeOrder());
    final long outAddress;
    final long inAddress;

    private final Host host;
    private int answers;

    private int at;
    private int next;
    /** Events of the last exchange that nobody has looked at. */
    private int left;

    Batch(Host host) {
        this.host = host;
        outAddress = host.address(out);
        inAddress = host.address(in);
    }

    /** Ends a task, with the next exchange or at once. */
    void answer(long task, Outcome outcome) {
        byte[] head = outcome.head();
        byte[] trailers = outcome.trailers();
        byte[] data = outcome.data();
        if (outcome.length() > ROOM - ANSWER - 3 * 8) {
            host.reply(task, outcome);
            return;
        }
        int record = ANSWER + padded(head.length) + padded(trailers.length) + padded(data.length);
        if (answers == MOST || out.remaining() < record) {
            flush();
        }
        out.putLong(task).putInt(outcome.status()).putInt(head.length).putInt(trailers.length).putInt(data.length);
        put(head);
        put(trailers);
        put(data);
        answers++;
    }

    private void put(byte[] part) {
        int begin = out.position();
        out.put(part);
        out.position(begin + padded(part.length));
    }

    /** Sends what waits. */
    void flush() {
        if (answers > 0) {
            send(0, 0);
        }
    }

    /** Sends what waits, and takes up to {@code max} events in, for {@link #next}. */
    void exchange(int max, int timeoutMillis) {
        next = 0;
        left = 0;
        left = send(Math.min(max, MOST), timeoutMillis);
    }

    /** Is there an event that was taken in, and not looked at yet? */
    boolean hasNext() {
        return left > 0;
    }

    private int send(int max, int timeoutMillis) {
        int sent = answers;
        answers = 0;
        out.clear();
        return host.exchange(this, sent, max, timeoutMillis);
    }

    /** Goes to the next event of the last exchange, and returns its kind. */
    int next() {
        left--;
        at = next;
        next = at + EVENT + (inlined() ? padded((int) length()) : 0);
        return in.getInt(at);
    }

    int flags() {
        return in.getInt(at + 4);
    }

    long task() {
        return in.getLong(at + 8);
    }

    long deadline() {
        return in.getLong(at + 16);
    }

    private long length() {
        return in.getLong(at + 32);
    }

    private boolean inlined() {
        return in.getLong(at + 40) == 1;
    }

    /**
     * A copy of the request, of an HTTP request its head: the host's memory is gone once the task has ended, and a handler
     * may keep the array.
     *
     * @throws OutOfMemoryError where the heap has no room for it
     */
    byte[] data() {
        long length = length();
        if (length > Integer.MAX_VALUE - 8) {
            throw new OutOfMemoryError("a request of " + length + " bytes");
        }
        if (!inlined() && in.getInt(at) == Host.HTTP) {
            return host.request(in.getLong(at + 24));
        }
        byte[] data = new byte[(int) length];
        if (inlined()) {
            in.get(at + EVENT, data);
        } else if (data.length > 0) {
            host.fetch(in.getLong(at + 24), data, 0, data.length);
        }
        return data;
    }

    private static int padded(int length) {
        return length + 7 & ~7;
    }
}
