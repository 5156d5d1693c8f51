package testing;

import io.github.nffi.Config;
import io.github.nffi.http.Headers;
import io.github.nffi.http.HttpConnection;
import io.github.nffi.http.HttpExchange;
import io.github.nffi.http.HttpHandler;
import io.github.nffi.http.HttpOutput;
import io.github.nffi.http.HttpRequest;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.concurrent.atomic.AtomicInteger;

/** HTTP answers of all kinds: the path chooses, the query has what it needs. */
public final class Web implements HttpHandler {
    private static final AtomicInteger LOADED = new AtomicInteger();
    private final AtomicInteger gone = new AtomicInteger();

    @Override
    public void init(Config config) {
        LOADED.incrementAndGet();
    }

    @Override
    public void handle(HttpExchange x) throws Exception {
        answer(x);
    }

    void answer(HttpExchange x) throws Exception {
        HttpRequest request = x.request();
        switch (request.path().substring(request.prefix().length())) {
            case "/hello" -> x.send(200, "hello\n");
            case "/show" -> x.send(200, shown(request));
            case "/echo" -> {
                x.headers().set("Content-Type", "application/octet-stream");
                HttpOutput out = x.start(200);
                request.body().transferTo(out);
            }
            case "/bytes" -> x.send(200, request.bytes());
            case "/count" -> x.send(200, count(request.body(), number(x, "ms", 0)) + "\n");
            case "/stream" -> stream(x, x.start(200));
            case "/flush" -> {
                OutputStream out = x.start(200);
                out.flush();
                Thread.sleep(number(x, "ms", 100));
                out.write("later\n".getBytes(StandardCharsets.UTF_8));
            }
            case "/status" -> x.send((int) number(x, "code", 204), (byte[]) null);
            case "/headers" -> {
                x.headers().add("Set-Cookie", "a=1").add("set-cookie", "b=2").add("X-Latin", "\u00e4");
                x.send(200, "headers\n");
            }
            case "/file" -> x.sendFile(200, Path.of(request.query("path")), number(x, "offset", 0), number(x, "length", -1));
            case "/parts" -> {
                HttpOutput out = x.start(200);
                out.write('<');
                out.writeFile(Path.of(request.query("path")), 1, 3);
                out.write('>');
            }
            case "/trailers" -> {
                x.trailers().set("X-Sum", "42");
                x.send(200, "body\n");
            }
            case "/hints" -> {
                x.inform(103, Headers.of("Link", "</style.css>; rel=preload"));
                x.send(200, "hello\n");
            }
            case "/throw" -> throw new IllegalStateException("thrown on purpose");
            case "/late" -> {
                HttpOutput out = x.start(200);
                out.write(new byte[(int) number(x, "after", 20)]);
                if (request.query("flush") != null) {
                    out.flush();
                    request.bytes();
                }
                throw new IllegalStateException("thrown too late");
            }
            case "/nothing" -> System.out.println("no answer");
            case "/sleep" -> sleep(number(x, "ms", 60000));
            case "/gone" -> x.send(200, gone + "\n");
            case "/memory" -> x.send(200, Runtime.getRuntime().totalMemory() + "\n");
            case "/loaded" -> x.send(200, LOADED + "\n");
            case "/upgrade" -> upgrade(x);
            case "/malformed" -> x.headers().set("X-A", "b\r\nX-C: d");
            default -> x.send(404, "no " + request.path() + "\n");
        }
    }

    static long number(HttpExchange x, String name, long otherwise) {
        String value = x.request().query(name);
        return value == null ? otherwise : Long.parseLong(value);
    }

    private static String shown(HttpRequest r) {
        StringBuilder text = new StringBuilder();
        text.append(r.method()).append(' ').append(r.rawPath()).append(' ').append(r.path()).append(' ').append(r.query())
                .append(' ').append(r.prefix()).append(' ').append(r.version()).append('\n');
        text.append(r.scheme()).append(' ').append(r.clientAddress()).append(' ').append(r.clientPort() > 0).append(' ')
                .append(r.serverAddress()).append(' ').append(r.serverPort() > 0).append(' ').append(r.serverName()).append('\n');
        text.append(r.contentLength()).append(' ').append(r.canUpgrade()).append(' ').append(r.params()).append('\n');
        for (var header : r.headers()) {
            text.append("> ").append(header.getKey()).append(": ").append(header.getValue()).append('\n');
        }
        text.append(r.headers().get("x-TWICE")).append(' ').append(r.headers().all("X-Twice")).append('\n');
        return text.toString();
    }

    private static String count(InputStream in, long ms) throws Exception {
        long bytes = 0;
        byte[] buffer = new byte[64 * 1024];
        for (int count = in.read(buffer); count >= 0; count = in.read(buffer)) {
            bytes += count;
            Thread.sleep(ms);
        }
        return bytes + " bytes";
    }

    /** n pieces of so many bytes; what a client that has gone does to it is counted. */
    private void stream(HttpExchange x, OutputStream out) throws IOException {
        byte[] piece = new byte[(int) number(x, "size", 10)];
        try {
            for (long i = 0; i < number(x, "n", 3); i++) {
                Arrays.fill(piece, (byte) ('a' + i % 26));
                out.write(piece);
                out.flush();
            }
        } catch (IOException e) {
            gone.incrementAndGet();
            throw e;
        }
    }

    private void sleep(long ms) throws InterruptedException {
        try {
            Thread.sleep(ms);
        } catch (InterruptedException e) {
            gone.incrementAndGet();
            throw e;
        }
    }

    /** Every byte back, and "bye" at the client's end. */
    private static void upgrade(HttpExchange x) throws IOException {
        x.headers().set("Upgrade", "echo");
        HttpConnection connection = x.upgrade();
        byte[] buffer = new byte[64 * 1024];
        InputStream in = connection.input();
        OutputStream out = connection.output();
        for (int count = in.read(buffer); count >= 0; count = in.read(buffer)) {
            out.write(buffer, 0, count);
            out.flush();
        }
        out.write("bye".getBytes(StandardCharsets.UTF_8));
    }
}
