package io.github.nffi.host;

import static org.junit.jupiter.api.Assertions.assertDoesNotThrow;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.github.nffi.Config;
import io.github.nffi.http.AsyncHttpHandler;
import io.github.nffi.http.Headers;
import io.github.nffi.http.HttpConnection;
import io.github.nffi.http.HttpExchange;
import io.github.nffi.http.HttpHandler;
import io.github.nffi.http.HttpOutput;
import io.github.nffi.http.HttpRequest;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;

@Timeout(30)
class HttpTest {
    private static final String INTERNAL = "500; Content-Type: text/plain; charset=utf-8";
    private static final int UPGRADE = 1;

    private final FakeHost host = new FakeHost();
    private boolean started;

    /** What the running test's handler does. */
    private static volatile HttpHandler handler;
    private static volatile CompletableFuture<Void> future;
    private static volatile HttpExchange kept;

    static final class Blocking implements HttpHandler {
        @Override
        public void handle(HttpExchange exchange) throws Exception {
            handler.handle(exchange);
        }
    }

    static final class Async implements AsyncHttpHandler {
        @Override
        public CompletableFuture<Void> handle(HttpExchange exchange) throws Exception {
            kept = exchange;
            handler.handle(exchange);
            return future;
        }
    }

    @AfterEach
    void stopped() throws InterruptedException {
        if (started) {
            host.stop();
            assertTrue(host.stopped.await(10, TimeUnit.SECONDS), "stopped() after STOP");
        }
        assertEquals(List.of(), host.errors);
    }

    private void start(Class<?> type, HttpHandler does) throws StartException {
        handler = does;
        kept = null;
        if (started) {
            return;
        }
        Config config = new Config("{}", Map.of());
        Options options = new Options(type.getName(), type.getName(), true, 1, "info", List.of(), config);
        Service.start(host, options);
        started = true;
    }

    private void start(HttpHandler does) throws StartException {
        start(Blocking.class, does);
    }

    private long get(String path) {
        return host.http(FakeHost.head(path, 0, ""), 0);
    }

    private void assertAnswer(String head, String body, long task) {
        assertEquals(new FakeHost.Answer(0, body), host.answer(task));
        assertEquals(head, host.http.get(task).head);
    }

    private static void await(BooleanSupplier condition) {
        long end = System.nanoTime() + TimeUnit.SECONDS.toNanos(10);
        while (!condition.getAsBoolean()) {
            assertTrue(System.nanoTime() < end, "not in 10 s");
            Thread.onSpinWait();
        }
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    @Test
    void aWholeAnswer() throws StartException {
        start(x -> {
            x.headers().add("X-B", "2").add("x-b", "3");
            x.send(201, "h\u00e4");
        });
        assertAnswer("201; X-B: 2; x-b: 3; Content-Type: text/plain; charset=utf-8", "h\u00e4", get("/"));
        start(x -> x.send(204, (byte[]) null));
        assertAnswer("204", "", get("/"));
        assertEquals(List.of(), host.written);
    }

    @Test
    void manyOfThemAndLargeOnes() throws StartException {
        start(Async.class, x -> x.send(200, x.request().path().repeat(x.request().path().length() == 3 ? 30_000 : 1)));
        future = CompletableFuture.completedFuture(null);
        List<Long> tasks = new ArrayList<>();
        for (int i = 0; i < 200; i++) {
            tasks.add(get("/" + i));
        }
        for (int i = 0; i < 200; i++) {
            String path = "/" + i;
            String body = path.repeat(path.length() == 3 ? 30_000 : 1);
            assertAnswer("200; Content-Type: text/plain; charset=utf-8", body, tasks.get(i));
        }
    }

    @Test
    void theRequest() throws StartException {
        List<Object> seen = new ArrayList<>();
        start(x -> {
            HttpRequest r = x.request();
            seen.addAll(List.of(r.method(), r.path(), r.query(), r.query("q"), r.query("e"), r.prefix(), r.version(), r.scheme(),
                    r.clientAddress(), r.clientPort(), r.serverAddress(), r.serverPort(), r.serverName(), r.headers().toString(),
                    r.headers().all("TWICE"), r.params(), r.contentLength(), r.canUpgrade()));
            assertNull(r.query("f"));
            assertEquals("/\u00c3\u00a4", r.rawPath());
            x.send(200, r.bytes());
        });
        long task = host.http(FakeHost.head("/\u00e4", UPGRADE, "body", "Host", "\u00e4", "Twice", "1", "twice", ""), 0);
        assertAnswer("200", "body", task);
        assertEquals(List.of("POST", "/\u00e4", "q=a%20b&e", "a b", "", "/app", "HTTP/1.1", "http", "127.0.0.1", 4711,
                "127.0.0.2", 80, "name", "Host: \u00e4, Twice: 1, twice: ", List.of("1", ""), Map.of("P", "V"), 4L, true), seen);
    }

    @Test
    void aHeadThatIsTooLongForTheBatch() throws StartException {
        start(x -> x.send(200, bytes(x.request().headers().get("Long"))));
        String value = "v".repeat(70_000);
        assertAnswer("200", value, host.http(FakeHost.head("/", 0, "", "Long", value), 0));
    }

    @Test
    void aSmallAnswerOfPiecesIsOneReply() throws StartException {
        start(x -> {
            HttpOutput out = x.start(200);
            out.write(bytes("one "));
            out.write(bytes("two"));
        });
        assertAnswer("200", "one two", get("/"));
        assertEquals(List.of(), host.written);
    }

    @Test
    void aFlushSendsTheHeadOnce() throws StartException {
        start(x -> {
            HttpOutput out = x.start(200);
            out.flush();
            assertEquals(List.of(""), host.written);
            out.flush();
            out.write('a');
            out.flush();
            out.write('b');
        });
        assertAnswer("200", "b", get("/"));
        assertEquals(List.of("", "a"), host.written);
    }

    @Test
    void aLongPieceWaitsForTheWindowInParts() throws StartException {
        start(x -> x.start(200).write(bytes("x".repeat(150_000))));
        host.window = Host.FULL;
        long task = get("/");
        for (int parts = 1; parts <= 3; parts++) {
            int now = parts;
            await(() -> host.written.size() == now);
            assertFalse(host.answers.containsKey(task));
            host.signal(Host.WRITABLE, task);
        }
        assertAnswer("200", "", task);
        assertEquals(List.of(65536, 65536, 150_000 - 131_072), host.written.stream().map(String::length).toList());
    }

    @Test
    void trailersAndWhatComesBefore() throws StartException {
        start(x -> {
            x.inform(103, Headers.of("Link", "</a>"));
            assertThrows(IllegalArgumentException.class, () -> x.inform(101, new Headers()));
            assertThrows(IllegalArgumentException.class, () -> x.send(100, "no"));
            assertThrows(IllegalArgumentException.class, () -> x.start(1000));
            x.trailers().set("X-Sum", "42");
            x.send(200, (byte[]) null);
            assertThrows(IllegalStateException.class, () -> x.send(200, "again"));
            assertThrows(IllegalStateException.class, () -> x.start(200));
            assertThrows(IllegalStateException.class, () -> x.inform(103, new Headers()));
        });
        long task = get("/");
        assertAnswer("200", "", task);
        assertEquals(List.of("103; Link: </a>"), host.http.get(task).informed);
        assertEquals("0; X-Sum: 42", host.http.get(task).trailers);
    }

    @Test
    void aBodyThatTheHostLends() throws StartException {
        byte[] body = bytes("0123456789".repeat(300_000));
        host.lent.put(7L, body);
        for (int kind = 0; kind < 4; kind++) {
            boolean whole = kind % 2 == 0;
            start(x -> {
                InputStream in = x.request().body();
                assertEquals('0', in.read());
                byte[] rest = whole ? x.request().bytes() : new byte[body.length - 1];
                if (!whole) {
                    assertEquals(rest.length, in.readNBytes(rest, 0, rest.length));
                }
                assertEquals(-1, in.read());
                x.send(200, rest);
                kept = x;
            });
            byte[] none = {};
            byte[] inMemory = FakeHost.head("/", 2, none, 7L << 32, body.length, -1);
            byte[] head = kind < 2 ? inMemory : FakeHost.headOfFile(7, body.length);
            assertAnswer("200", new String(body, 1, body.length - 1, StandardCharsets.UTF_8), host.http(head, 0));
            // FakeHost lends nothing after the end.
            String said = assertThrows(IOException.class, () -> kept.request().body().read()).getMessage();
            assertEquals("the request has been answered", said);
            host.ended.clear();
        }
    }

    @Test
    void aBodyThatComesInPieces() throws StartException {
        start(x -> x.send(200, x.request().bytes()));
        host.pieces.addAll(List.of("a", "AGAIN", "b"));
        long task = host.http(FakeHost.head("/", 2, ""), Host.MORE);
        await(() -> host.piecesLeft() == 1);
        host.signal(Host.READABLE, task);
        assertAnswer("200", "ab", task);
    }

    @Test
    void files(@TempDir Path dir) throws Exception {
        Path file = Files.writeString(dir.resolve("file"), "0123456789");
        start(x -> x.sendFile(200, file));
        assertAnswer("200; Content-Length: 10", "", get("/"));
        start(x -> {
            HttpOutput out = x.start(200);
            out.write('<');
            out.writeFile(file, 2, 3);
            out.write('>');
        });
        assertAnswer("200", ">", get("/"));
        assertEquals(List.of("file 0123456789", "<", "file 234"), host.written);
        start(x -> {
            for (long[] wrong : new long[][] {{-1, -1}, {11, -1}, {0, 11}, {5, 6}, {0, -2}, {Long.MAX_VALUE, 1}}) {
                assertThrows(IOException.class, () -> x.sendFile(200, file, wrong[0], wrong[1]));
            }
            assertThrows(IOException.class, () -> x.sendFile(200, dir));
            assertThrows(IOException.class, () -> x.sendFile(200, dir.resolve("none")));
            // Nothing has been sent yet.
            x.headers().remove("Content-Length");
            x.send(404, "none");
        });
        assertAnswer("404; Content-Type: text/plain; charset=utf-8", "none", get("/"));
    }

    @Test
    void upgrades() throws StartException {
        start(x -> {
            x.headers().set("Upgrade", "echo");
            HttpConnection connection = x.upgrade();
            connection.output().write(connection.input().read());
            connection.output().flush();
            connection.output().write(connection.input().readAllBytes());
        });
        host.pieces.addAll(List.of("AGAIN", "ab", "c"));
        long task = host.http(FakeHost.head("/", UPGRADE, ""), 0);
        await(() -> host.piecesLeft() == 2);
        assertEquals(List.of("101; Upgrade: echo"), host.http.get(task).informed);
        host.signal(Host.READABLE, task);
        assertEquals(new FakeHost.Answer(0, "bc"), host.answer(task));
        assertNull(host.http.get(task).head);
        assertEquals(List.of("a"), host.written);
        assertAnswer(INTERNAL, "Internal Server Error", get("/"));
        assertTrue(host.log.get(0).startsWith("3 call java.lang.IllegalStateException: the client has not asked"), host.log.get(0));
    }

    @Test
    void failures() throws StartException {
        start(x -> {
            throw new IllegalStateException("bad");
        });
        assertAnswer(INTERNAL, "Internal Server Error", get("/"));
        assertEquals("3 call java.lang.IllegalStateException: bad", host.log.get(0));
        start(x -> {
            // What was written is gathered here still, and what was to be sent is not sent.
            x.start(200).write('a');
            throw new Handlers.Speechless();
        });
        assertAnswer(INTERNAL, "Internal Server Error", get("/"));
        start(x -> {
            x.send(200, "done");
            throw new Handlers.Causeless();
        });
        assertAnswer(INTERNAL, "Internal Server Error", get("/"));
        host.log.clear();
        start(x -> { });
        assertAnswer(INTERNAL, "Internal Server Error", get("/"));
        assertEquals(List.of("3 call the handler returned without an answer"), host.log);
        start(x -> {
            x.start(200).flush();
            throw new IllegalStateException("late");
        });
        long task = get("/");
        assertEquals(new FakeHost.Answer(1, "java.lang.IllegalStateException: late"), host.answer(task));
        assertEquals("200", host.http.get(task).head);
    }

    @Test
    void futures() throws StartException {
        future = new CompletableFuture<>();
        start(Async.class, x -> x.send(200, "later"));
        long task = get("/");
        await(() -> kept != null);
        assertFalse(host.answers.containsKey(task));
        future.complete(null);
        assertAnswer("200; Content-Type: text/plain; charset=utf-8", "later", task);
        future = CompletableFuture.failedFuture(new IllegalStateException("bad"));
        assertAnswer(INTERNAL, "Internal Server Error", get("/"));
        future = null;
        assertAnswer(INTERNAL, "Internal Server Error", get("/"));
        future = new CompletableFuture<>();
        // Begun: one that is cancelled before never gets as far as its future.
        kept = null;
        long cancelled = get("/");
        await(() -> kept != null);
        host.cancel(cancelled);
        assertEquals(new FakeHost.Answer(1, "cancelled"), host.answer(cancelled));
        assertTrue(future.isCancelled());
    }

    @Test
    void piecesWithoutWaiting() throws StartException {
        future = new CompletableFuture<>();
        List<Object> done = new CopyOnWriteArrayList<>();
        start(Async.class, x -> {
            HttpOutput out = x.start(200);
            out.write('<');
            read(x, out, done);
        });
        host.pieces.addAll(List.of("AGAIN", "a", "b".repeat(100_000)));
        host.window = Host.FULL;
        long task = host.http(FakeHost.head("/", 2, ""), Host.MORE);
        await(() -> host.piecesLeft() == 2);
        host.signal(Host.READABLE, task);
        await(() -> host.written.size() == 1);
        host.signal(Host.WRITABLE, task);
        await(() -> host.written.size() == 2);
        assertEquals(List.of("sent"), done);
        host.signal(Host.WRITABLE, task);
        await(() -> host.written.size() == 3);
        host.window = Host.OK;
        host.signal(Host.WRITABLE, task);
        assertAnswer("200", ">", task);
        assertEquals(List.of(2, 65536, 100_000 - 65536), host.written.stream().map(String::length).toList());
        assertEquals(List.of("sent", "sent"), done);
    }

    private static void read(HttpExchange x, HttpOutput out, List<Object> done) {
        x.request().readAsync().whenComplete((piece, e) -> {
            if (piece == null) {
                assertDoesNotThrow(() -> out.write('>'));
                future.complete(null);
                return;
            }
            out.sendAsync(piece).thenRun(() -> {
                done.add("sent");
                read(x, out, done);
            });
        });
    }

    @Test
    void whoDoesNotWaitHearsOfTheEndAllTheSame() throws StartException {
        future = new CompletableFuture<>();
        List<CompletableFuture<?>> waiting = new CopyOnWriteArrayList<>();
        start(Async.class, x -> {
            waiting.add(x.request().readAsync());
            waiting.add(x.start(200).sendAsync(new byte[1]));
        });
        for (boolean gone : new boolean[] {true, false}) {
            waiting.clear();
            future = new CompletableFuture<>();
            host.pieces.add("AGAIN");
            host.window = Host.FULL;
            long task = host.http(FakeHost.head("/", 2, ""), Host.MORE);
            await(() -> waiting.size() == 2);
            if (gone) {
                host.cancel(task);
            } else {
                future.complete(null);
            }
            host.answer(task);
            String said = gone ? "the caller has gone" : "the request has been answered";
            for (CompletableFuture<?> each : waiting) {
                Throwable e = assertThrows(ExecutionException.class, () -> each.get(10, TimeUnit.SECONDS)).getCause();
                assertEquals("java.io.IOException: " + said, e.toString());
            }
        }
    }

    @Test
    void aClientThatGoes() throws StartException {
        kept = null;
        start(x -> {
            kept = x;
            Thread.sleep(60_000);
        });
        long task = get("/");
        await(() -> kept != null);
        host.cancel(task);
        assertEquals(new FakeHost.Answer(1, "cancelled"), host.answer(task));
        // A write knows it before CANCEL has come.
        start(x -> {
            host.cancelled.add(host.http.keySet().stream().max(Long::compare).orElseThrow());
            x.start(200).flush();
        });
        host.window = Host.GONE;
        assertEquals(new FakeHost.Answer(1, "cancelled"), host.answer(get("/")));
        assertEquals(List.of(), host.log);
    }

    @Test
    void requestsOfTheOtherKindAreEnded() throws StartException {
        start(x -> x.send(200, "HTTP"));
        assertEquals(new FakeHost.Answer(1, "this runtime takes HTTP requests (nffi_pass), not messages (nffi.call)"),
                host.answer(host.call("x")));
        assertAnswer("200; Content-Type: text/plain; charset=utf-8", "HTTP", get("/"));
    }

    @Test
    void soAreThoseOfAMessageHandler() throws StartException {
        Handlers.reset();
        Handlers.gate.countDown();
        start(Handlers.Blocking.class, null);
        assertEquals(new FakeHost.Answer(1, "this runtime takes messages (nffi.call), not HTTP requests (nffi_pass)"),
                host.answer(get("/")));
    }

    @Test
    void aHostWithoutHttp() {
        host.hasHttp = false;
        String said = assertThrows(StartException.class, () -> start(x -> { })).getMessage();
        assertEquals("handler " + Blocking.class.getName() + ": is an HttpHandler, and this host has no HTTP", said);
    }
}
