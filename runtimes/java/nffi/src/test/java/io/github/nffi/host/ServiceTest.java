package io.github.nffi.host;

import static org.junit.jupiter.api.Assertions.assertDoesNotThrow;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.nffi.Config;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.BooleanSupplier;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

@Timeout(30)
class ServiceTest {
    private final FakeHost host = new FakeHost();
    private boolean started;

    @BeforeEach
    void reset() {
        Handlers.reset();
    }

    @AfterEach
    void stopped() throws InterruptedException {
        if (started) {
            Handlers.gate.countDown();
            host.stop();
            assertTrue(host.stopped.await(10, TimeUnit.SECONDS), "stopped() after STOP");
            assertTrue(Handlers.closed, "the handler was closed");
        }
        assertEquals(List.of(), host.errors);
    }

    private Service start(Class<?> handler, int threads, String... own) throws StartException {
        Map<String, List<List<String>>> options = new HashMap<>();
        for (int i = 0; i < own.length; i += 2) {
            options.put(own[i], List.of(List.of(own[i + 1])));
        }
        Config config = new Config(handler.getName() + options, options);
        Options set = new Options(config.toString(), handler.getName(), false, threads, "info", List.of(), config);
        Service service = Service.start(host, set);
        started = true;
        return service;
    }

    private static void await(BooleanSupplier condition) {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(10);
        while (!condition.getAsBoolean()) {
            assertTrue(System.nanoTime() < end, "not in 10 s");
            Thread.onSpinWait();
        }
    }

    private void assertAnswer(int status, String text, long task) {
        assertEquals(new FakeHost.Answer(status, text), host.answer(task));
    }

    private void assertStartFails(String message, Class<?> handler, String... own) {
        assertEquals(message, assertThrows(StartException.class, () -> start(handler, 1, own)).getMessage());
    }

    @Test
    void answersAndErrors() throws StartException {
        start(Handlers.Blocking.class, 2);
        assertAnswer(0, "hello", host.call("hello"));
        assertAnswer(0, "", host.call(""));
        assertAnswer(0, "", host.call("null"));
        assertAnswer(42, "no", host.call("fail"));
        assertEquals(List.of(), host.log);
        assertAnswer(1, "java.lang.IllegalStateException: bad", host.call("throw"));
        assertEquals("3 call java.lang.IllegalStateException: bad", host.log.get(0));
        assertTrue(host.log.get(1).startsWith("3 call     at io.github.nffi.host.Handlers$Blocking.call"), host.log.get(1));
        assertAnswer(1, "java.lang.StackOverflowError", host.call("overflow"));
        assertAnswer(0, "still here", host.call("still here"));
    }

    @Test
    void whatCannotBeDescribedEndsItsCallAllTheSame() throws StartException {
        start(Handlers.Blocking.class, 1);
        String speechless = Handlers.Speechless.class.getName();
        assertAnswer(1, speechless, host.call("speechless"));
        assertEquals(List.of("3 call " + speechless,
                "3 call     no stack trace: java.lang.NoClassDefFoundError while it was printed"), host.log);
        host.log.clear();
        String traceless = Handlers.Traceless.class.getName() + ": no way";
        assertAnswer(1, traceless, host.call("traceless"));
        assertEquals(List.of("3 call " + traceless,
                "3 call     no stack trace: java.lang.StackOverflowError while it was printed"), host.log);
        host.log.clear();
        assertAnswer(1, "an error that cannot be described", host.call("causeless"));
        assertEquals(List.of(), host.log);
        assertEquals(1, host.answer(host.call("circle")).status());
        assertAnswer(0, "still here", host.call("still here"));
    }

    @Test
    void norDoesItEndAFuturesThread() throws StartException {
        start(Handlers.Async.class, 0);
        assertAnswer(1, Handlers.Speechless.class.getName(), host.call("speechless"));
        assertAnswer(1, Handlers.Speechless.class.getName(), host.call("fails speechless"));
        assertAnswer(1, "java.lang.AssertionError: not you", host.call("odd"));
        assertAnswer(0, "still here", host.call("still here"));
    }

    /** What is in a batch outlives an error of its thread: answers that wait, and events that were polled. */
    @Test
    void anErrorOfTheLoopLosesNeitherAnswersNorEvents() throws StartException {
        Options options = new Options("{}", "x", true, 1, "info", List.of(), new Config("{}", Map.of()));
        Service service = new Service(host, options, Loaders.take(options), App.of(new Handlers.Async()));
        started = true;
        List<Long> tasks = List.of(host.call("one"), host.call("two"), host.call("three"));
        new EventLoop(service, (task, batch) -> {
            service.finish(task, Outcome.answer(task.pieces.all()), batch);
            if (((Call) task).text().equals("two")) {
                throw new StackOverflowError("of the loop");
            }
        }).start("loop", 1);
        assertAnswer(0, "one", tasks.get(0));
        assertAnswer(0, "two", tasks.get(1));
        assertAnswer(0, "three", tasks.get(2));
        assertEquals("3 - java.lang.StackOverflowError: of the loop", host.log.get(0));
    }

    @Test
    void largeAnswersAndManyOfThem() throws StartException {
        start(Handlers.Async.class, 0);
        String large = "x".repeat(60_000);
        List<Long> tasks = new ArrayList<>();
        for (int i = 0; i < 200; i++) {
            tasks.add(host.call(i % 40 == 0 ? large : "task " + i));
        }
        for (int i = 0; i < 200; i++) {
            assertAnswer(0, i % 40 == 0 ? large : "task " + i, tasks.get(i));
        }
    }

    @Test
    void noMoreAtOnceThanThreads() throws StartException {
        start(Handlers.Blocking.class, 2);
        List<Long> tasks = new ArrayList<>();
        for (int i = 0; i < 20; i++) {
            tasks.add(host.call("wait"));
        }
        await(() -> Handlers.RUNNING.get() == 2);
        Handlers.gate.countDown();
        for (long task : tasks) {
            assertAnswer(0, "wait", task);
        }
        assertEquals(2, Handlers.MOST.get());
    }

    @Test
    void cancelInterruptsTheOneAndNotTheNext() throws StartException {
        start(Handlers.Blocking.class, 1);
        long running = host.call("wait");
        await(() -> Handlers.RUNNING.get() == 1);
        host.cancel(running);
        assertAnswer(1, "cancelled", running);
        assertEquals(1, Handlers.INTERRUPTED.get());
        assertAnswer(0, "false", host.call("interrupted?"));
        assertEquals(List.of(), host.log);
    }

    @Test
    void cancelEndsWhatWaitsWhileAllThreadsAreBusy() throws StartException {
        start(Handlers.Blocking.class, 1);
        long running = host.call("wait");
        await(() -> Handlers.RUNNING.get() == 1);
        long waiting = host.call("never runs");
        host.cancel(waiting);
        assertAnswer(1, "cancelled", waiting);
        assertFalse(host.answers.containsKey(running));
        Handlers.gate.countDown();
        assertAnswer(0, "wait", running);
    }

    @Test
    void cancelThatCameBeforeItsCall() throws StartException {
        start(Handlers.Blocking.class, 1);
        host.cancelled.add(101L);
        assertAnswer(1, "cancelled", host.call("wait"));
        assertEquals(0, Handlers.MOST.get());
    }

    @Test
    void futures() throws StartException {
        start(Handlers.Async.class, 0);
        assertAnswer(0, "now", host.call("now"));
        long pending = host.call("pending");
        assertAnswer(0, "not held up", host.call("not held up"));
        Handlers.pending.complete("done".getBytes(StandardCharsets.UTF_8));
        assertAnswer(0, "done", pending);
        assertAnswer(1, "java.lang.IllegalStateException: bad", host.call("throw"));
        assertAnswer(1, "java.lang.IllegalStateException: later", host.call("later"));
        assertAnswer(1, "java.lang.NullPointerException: the handler returned null instead of a future", host.call("null"));
    }

    @Test
    void cancelCancelsTheFuture() throws StartException {
        start(Handlers.Async.class, 0);
        long pending = host.call("pending");
        assertAnswer(0, "x", host.call("x"));
        host.cancel(pending);
        assertAnswer(1, "cancelled", pending);
        assertTrue(Handlers.pending.isCancelled());
    }

    @Test
    void piecesBothWays() throws StartException {
        start(Handlers.Blocking.class, 1);
        host.pieces.addAll(List.of("b", "AGAIN", "c"));
        long task = host.call("a", Host.MORE);
        // READABLE follows AGAIN, and never comes before.
        await(() -> host.piecesLeft() == 1);
        host.signal(Host.READABLE, task);
        assertAnswer(0, "abc", task);
        assertAnswer(0, "last one", host.call("write"));
        assertEquals(List.of("piece"), host.written);
    }

    @Test
    void writingWaitsWhileTheWindowIsFull() throws StartException {
        start(Handlers.Blocking.class, 1);
        host.window = Host.FULL;
        long task = host.call("write");
        await(() -> !host.written.isEmpty());
        assertFalse(host.answers.containsKey(task));
        host.window = Host.OK;
        host.signal(Host.WRITABLE, task);
        assertAnswer(0, "last one", task);
        host.window = Host.GONE;
        assertAnswer(1, "java.io.IOException: the caller has gone", host.call("write"));
    }

    @Test
    void theEndOfATaskWakesWhoWaitsForItsPieces() throws StartException {
        start(Handlers.Aside.class, 0);
        host.window = Host.FULL;
        Handlers.Use reads = request -> request.input().readAllBytes();
        Handlers.Use writes = request -> {
            request.output().write(1);
            request.output().flush();
        };
        for (Handlers.Use use : List.of(reads, writes)) {
            Handlers.reset();
            Handlers.aside = use;
            host.pieces.add("AGAIN");
            long task = host.call("", Host.MORE);
            await(() -> Handlers.waiting != null && Handlers.waiting.getState() == Thread.State.WAITING);
            Handlers.pending.complete(new byte[0]);
            assertAnswer(0, "", task);
            await(() -> Handlers.ended != null);
            assertEquals("java.io.IOException: the request has been answered", Handlers.ended);
        }
    }

    @Test
    void noPieceIsAskedOfAHostAfterTheEnd() throws StartException {
        start(Handlers.Aside.class, 0);
        Handlers.aside = request -> { };
        long task = host.call("", Host.MORE);
        await(() -> Handlers.kept != null);
        Handlers.pending.complete(new byte[0]);
        assertAnswer(0, "", task);
        host.pieces.add("late");
        String said = assertThrows(IOException.class, () -> Handlers.kept.input().readAllBytes()).getMessage();
        assertEquals("the request has been answered", said);
        assertEquals(1, host.piecesLeft());
    }

    @Test
    void theLoopsThreadDoesNotWait() throws StartException {
        start(Handlers.Async.class, 0);
        host.pieces.add("AGAIN");
        long task = host.call("a", Host.MORE);
        String said = "java.lang.IllegalStateException: would wait on the thread that takes requests in: use a thread of your own";
        assertAnswer(1, said, task);
    }

    @Test
    void stopCancelsWhatDoesNotEnd() throws StartException {
        start(Handlers.Blocking.class, 2);
        long running = host.call("wait");
        await(() -> Handlers.RUNNING.get() == 1);
        host.stop();
        assertAnswer(1, "cancelled", running);
        assertEquals(1, Handlers.INTERRUPTED.get());
    }

    @Test
    void aTaskIsThereUntilItsAnswerIsSent() throws StartException {
        Service service = start(Handlers.Async.class, 0);
        AtomicBoolean busy = new AtomicBoolean();
        long pending = host.call("pending");
        await(() -> Handlers.kept != null);
        host.onReply = () -> busy.set(service.busy());
        // On this thread, so without a batch.
        Handlers.pending.complete(new byte[0]);
        assertAnswer(0, "", pending);
        assertTrue(busy.get(), "stopped() could have overtaken the answer");
    }

    @Test
    void stoppedWaitsForCallsThatAreUnderWay() throws Exception {
        Service service = start(Handlers.Async.class, 0);
        CountDownLatch inside = new CountDownLatch(1);
        CountDownLatch leave = new CountDownLatch(1);
        host.onReply = () -> {
            inside.countDown();
            assertDoesNotThrow(() -> leave.await());
        };
        Thread other = new Thread(() -> service.host().reply(7, Outcome.CANCELLED));
        other.start();
        inside.await();
        host.stop();
        assertFalse(host.stopped.await(200, TimeUnit.MILLISECONDS), "a call is under way");
        leave.countDown();
        other.join();
        assertTrue(host.stopped.await(10, TimeUnit.SECONDS));
    }

    @Test
    void nothingTouchesTheHostAfterStopped() throws Exception {
        Service service = start(Handlers.Async.class, 0);
        long pending = host.call("pending");
        await(() -> Handlers.kept != null);
        Handlers.pending.complete(new byte[0]);
        assertAnswer(0, "", pending);
        host.stop();
        assertTrue(host.stopped.await(10, TimeUnit.SECONDS));
        // By what a handler has kept, then by the way of everything that is not a loop's.
        assertThrows(IOException.class, () -> {
            Handlers.kept.output().write(1);
            Handlers.kept.output().flush();
        });
        service.log(null, Host.ERR, "late");
        Host gate = service.host();
        assertEquals(Host.BAD, gate.reply(1, Outcome.CANCELLED));
        assertEquals(Host.GONE, gate.write(1, Outcome.NOTHING, new byte[0], 0, 0));
        int[] result = {Host.OK};
        assertEquals(Host.GONE, gate.file(1, Outcome.NOTHING, null, 0, 0));
        assertEquals(Host.GONE, gate.inform(1, Outcome.NOTHING));
        assertNull(gate.read(1, result));
        assertEquals(Host.GONE, result[0]);
        assertTrue(gate.cancelled(1));
        gate.stopped();
    }

    @Test
    void startsThatFail() {
        assertStartFails("told to", Handlers.Blocking.class, "fail", "told to");
        assertStartFails("unknown option \"x\": neither the Java host nor " + Handlers.Blocking.class.getName() + " knows it",
                Handlers.Blocking.class, "x", "1");
        assertStartFails("handler " + Handlers.Neither.class.getName()
                + ": implements none of io.github.nffi.Handler, io.github.nffi.AsyncHandler, io.github.nffi.http.HttpHandler,"
                + " io.github.nffi.http.AsyncHttpHandler", Handlers.Neither.class);
        assertStartFails("handler " + Handlers.Both.class.getName()
                + ": implements io.github.nffi.Handler, io.github.nffi.http.HttpHandler, and may be one of them only",
                Handlers.Both.class);
        Options missing = new Options("{}", "no.Such", true, 1, "info", List.of(), new Config("{}", Map.of()));
        StartException e = assertThrows(StartException.class, () -> Service.start(host, missing));
        assertEquals("handler no.Such: no such class on class_path []", e.getMessage());
    }
}
