package io.github.nffi.host;

import io.github.nffi.AsyncHandler;
import io.github.nffi.Config;
import io.github.nffi.Handler;
import io.github.nffi.NffiException;
import io.github.nffi.Request;
import io.github.nffi.http.HttpExchange;
import io.github.nffi.http.HttpHandler;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BiConsumer;

/** Handlers that the tests name. */
final class Handlers {
    /** What the running test waits for, and what waits for it. */
    static volatile CountDownLatch gate;
    static final AtomicInteger INTERRUPTED = new AtomicInteger();
    static final AtomicInteger RUNNING = new AtomicInteger();
    static final AtomicInteger MOST = new AtomicInteger();
    static volatile boolean closed;
    static volatile CompletableFuture<byte[]> pending;
    /** What Aside does, on which thread, and how it ended. */
    static volatile Use aside;
    static volatile Thread waiting;
    static volatile String ended;
    /** Of the last "pending", or of Aside. */
    static volatile Request kept;

    private Handlers() {
    }

    static void reset() {
        gate = new CountDownLatch(1);
        INTERRUPTED.set(0);
        RUNNING.set(0);
        MOST.set(0);
        closed = false;
        pending = new CompletableFuture<>();
        kept = null;
        waiting = null;
        ended = null;
    }

    /** "wait" waits for the gate; all else is answered with itself. */
    static final class Blocking implements Handler {
        @Override
        public void init(Config config) throws Exception {
            String failure = config.get("fail");
            if (failure != null) {
                throw new NffiException(failure);
            }
        }

        @Override
        public byte[] call(Request request) throws Exception {
            MOST.accumulateAndGet(RUNNING.incrementAndGet(), Math::max);
            try {
                switch (request.text()) {
                    case "wait" -> gate.await();
                    case "fail" -> throw new NffiException(42, "no");
                    case "throw" -> throw new IllegalStateException("bad");
                    case "speechless" -> throw new Speechless();
                    case "traceless" -> throw new Traceless();
                    case "causeless" -> throw new Causeless();
                    case "circle" -> throw circle();
                    case "null" -> {
                        return null;
                    }
                    case "overflow" -> {
                        return overflow(0);
                    }
                    case "interrupted?" -> {
                        return Boolean.toString(Thread.interrupted()).getBytes(StandardCharsets.UTF_8);
                    }
                    case "write" -> {
                        request.output().write("piece".getBytes(StandardCharsets.UTF_8));
                        request.output().flush();
                        request.output().write("last ".getBytes(StandardCharsets.UTF_8));
                        return "one".getBytes(StandardCharsets.UTF_8);
                    }
                    default -> {
                        return request.bytes();
                    }
                }
            } catch (InterruptedException e) {
                INTERRUPTED.incrementAndGet();
                throw e;
            } finally {
                RUNNING.decrementAndGet();
            }
            return request.bytes();
        }

        private static byte[] overflow(int depth) {
            return depth < 0 ? null : overflow(depth + 1);
        }

        @Override
        public void close() {
            closed = true;
        }
    }

    /** "pending" is answered by the test; "read" by what it reads, on the loop's thread. */
    static final class Async implements AsyncHandler {
        @Override
        public CompletableFuture<byte[]> call(Request request) throws Exception {
            return switch (request.text()) {
                case "pending" -> {
                    kept = request;
                    yield pending;
                }
                case "null" -> null;
                case "throw" -> throw new IllegalStateException("bad");
                case "speechless" -> throw new Speechless();
                case "fails speechless" -> CompletableFuture.failedFuture(new Speechless());
                case "odd" -> new OddFuture();
                case "later" -> CompletableFuture.supplyAsync(() -> {
                    throw new IllegalStateException("later");
                });
                default -> CompletableFuture.completedFuture(request.bytes());
            };
        }

        @Override
        public void close() {
            closed = true;
        }
    }

    /** Reads or writes on a thread of its own, and is answered by the test. */
    static final class Aside implements AsyncHandler {
        @Override
        public CompletableFuture<byte[]> call(Request request) {
            Thread thread = new Thread(() -> {
                try {
                    aside.use(request);
                    ended = "without an error";
                } catch (Exception e) {
                    ended = e.toString();
                }
            });
            thread.setDaemon(true);
            thread.start();
            kept = request;
            waiting = thread;
            return pending;
        }

        @Override
        public void close() {
            closed = true;
        }
    }

    interface Use {
        void use(Request request) throws Exception;
    }

    /** As a class does that some jar is missing for. */
    static final class Speechless extends Exception {
        private static final long serialVersionUID = 1L;

        @Override
        public String toString() {
            throw new NoClassDefFoundError("no/Words");
        }
    }

    static final class Traceless extends RuntimeException {
        private static final long serialVersionUID = 1L;

        Traceless() {
            super("no way");
        }

        @Override
        public synchronized Throwable getCause() {
            return overflow();
        }

        private Throwable overflow() {
            Throwable deeper = overflow();
            return deeper == null ? this : deeper;
        }
    }

    static final class Causeless extends CompletionException {
        private static final long serialVersionUID = 1L;

        @Override
        public synchronized Throwable getCause() {
            throw new AssertionError("none");
        }
    }

    private static Exception circle() {
        CompletionException one = new CompletionException(null);
        one.initCause(new CompletionException(one));
        return one;
    }

    static final class OddFuture extends CompletableFuture<byte[]> {
        @Override
        public CompletableFuture<byte[]> whenComplete(BiConsumer<? super byte[], ? super Throwable> action) {
            throw new AssertionError("not you");
        }
    }

    static final class Neither {
    }

    static final class Both implements Handler, HttpHandler {
        @Override
        public void init(Config config) {
        }

        @Override
        public byte[] call(Request request) {
            return null;
        }

        @Override
        public void handle(HttpExchange exchange) {
        }

        @Override
        public void close() {
        }
    }
}
