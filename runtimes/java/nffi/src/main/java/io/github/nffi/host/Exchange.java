package io.github.nffi.host;

import io.github.nffi.http.Headers;
import io.github.nffi.http.HttpConnection;
import io.github.nffi.http.HttpExchange;
import io.github.nffi.http.HttpOutput;
import io.github.nffi.http.HttpRequest;
import java.io.FileInputStream;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.CompletableFuture;

/**
 * An HTTP request and its answer.
 *
 * <pre>
 *            send ──► WHOLE
 *   NOTHING ─start──► PIECES   the head goes with the first
 *          upgrade──► UPGRADED
 * </pre>
 */
final class Exchange extends Task implements HttpExchange {
    private enum Stage {
        NOTHING, WHOLE, PIECES, UPGRADED
    }

    private final RequestHead request;
    private final Headers headers = new Headers();
    private Headers trailers;
    private volatile Stage stage = Stage.NOTHING;
    /** Of an answer that is WHOLE. */
    private byte[] head;
    private byte[] body;

    Exchange(Service service, long id, int flags, byte[] block) {
        super(service, id, Pieces.ofHttp(service.host(), id, (flags & Host.MORE) != 0));
        request = new RequestHead(block, service.host(), pieces, (flags & Host.MORE) != 0);
    }

    // ---- the end ----

    @Override
    Outcome answered(Object result) {
        return switch (stage) {
            case NOTHING -> {
                if (isGone()) {
                    yield Outcome.CANCELLED;
                }
                service().log(this, Host.ERR, "the handler returned without an answer");
                yield Outcome.INTERNAL_ERROR;
            }
            case WHOLE -> new Outcome(0, head, encodedTrailers(), body);
            case PIECES -> new Outcome(0, pieces.takeHead(), encodedTrailers(), pieces.last(Outcome.NOTHING));
            case UPGRADED -> Outcome.answer(pieces.last(Outcome.NOTHING));
        };
    }

    private byte[] encodedTrailers() {
        return trailers == null || trailers.size() == 0 ? Outcome.NOTHING : Heads.encode(Heads.TRAILERS, trailers);
    }

    @Override
    Outcome failed(Throwable cause) {
        if (isGone()) {
            // Interrupted, most likely, as it was meant to be; nobody gets the answer.
            return Outcome.CANCELLED;
        }
        service().logTrace(this, "", cause);
        return headIsSent() ? Outcome.error(1, Logs.text(cause)) : Outcome.INTERNAL_ERROR;
    }

    @Override
    Outcome failed(Outcome wordless) {
        return headIsSent() ? wordless : Outcome.INTERNAL_ERROR;
    }

    /** Clients go all the time, and a write may know it before CANCEL has come. */
    private boolean isGone() {
        return isCancelled() || service().host().cancelled(id);
    }

    private boolean headIsSent() {
        return stage == Stage.UPGRADED || stage == Stage.PIECES && !pieces.headWaits();
    }

    @Override
    void ending() {
        if (request.body() instanceof LentBody lent) {
            lent.giveBack();
        }
    }

    // ---- for handlers ----

    @Override
    public HttpRequest request() {
        return request;
    }

    @Override
    public Headers headers() {
        return headers;
    }

    @Override
    public synchronized Headers trailers() {
        if (trailers == null) {
            trailers = new Headers();
        }
        return trailers;
    }

    @Override
    public void send(int status, byte[] body) {
        byte[] head = beginning(status);
        this.head = head;
        this.body = body == null ? Outcome.NOTHING : body;
        stage = Stage.WHOLE;
    }

    @Override
    public void send(int status, String text) {
        mayBegin(status);
        if (!headers.has("Content-Type")) {
            headers.set("Content-Type", "text/plain; charset=utf-8");
        }
        send(status, text.getBytes(StandardCharsets.UTF_8));
    }

    @Override
    public HttpOutput start(int status) {
        pieces.begin(beginning(status));
        stage = Stage.PIECES;
        return pieces.output();
    }

    @Override
    public void sendFile(int status, Path file, long offset, long length) throws IOException {
        mayBegin(status);
        try (FileInputStream open = open(file)) {
            long size = open.getChannel().size();
            long sent = length == -1 ? size - offset : length;
            if (offset < 0 || sent < 0 || offset > size - sent) {
                throw new IOException(file + ": has " + size + " bytes, not " + length + " from " + offset + " on");
            }
            if (!headers.has("Content-Length")) {
                headers.set("Content-Length", Long.toString(sent));
            }
            start(status).writeFile(open.getFD(), offset, sent);
        }
    }

    /** A regular file: to open another may take for ever. */
    static FileInputStream open(Path file) throws IOException {
        if (file.getFileSystem() != FileSystems.getDefault()) {
            throw new IOException(file + ": is in " + file.getFileSystem() + ", out of which nginx cannot send");
        }
        if (Files.exists(file) && !Files.isRegularFile(file)) {
            throw new FileNotFoundException(file + " (no regular file)");
        }
        return new FileInputStream(file.toFile());
    }

    @Override
    public void inform(int status, Headers headers) throws IOException {
        mayBegin();
        if (status <= 101 || status > 199) {
            throw new IllegalArgumentException(status + ": a status from 102 to 199 comes before an answer");
        }
        pieces.inform(Heads.encode(status, headers));
    }

    @Override
    public HttpConnection upgrade() throws IOException {
        mayBegin();
        if (!request.canUpgrade()) {
            throw new IllegalStateException("the client has not asked for an upgrade, or its connection cannot be upgraded");
        }
        pieces.upgrade(Heads.encode(101, headers));
        stage = Stage.UPGRADED;
        return new Connection(pieces, pieces.input(), pieces.output());
    }

    private record Connection(Pieces pieces, InputStream input, HttpOutput output) implements HttpConnection {
        @Override
        public CompletableFuture<byte[]> readAsync() {
            return pieces.readAsync();
        }
    }

    private byte[] beginning(int status) {
        mayBegin(status);
        return Heads.encode(status, headers);
    }

    private void mayBegin(int status) {
        mayBegin();
        if (status < 200 || status > 999) {
            throw new IllegalArgumentException(status + ": an answer's status is a number from 200 to 999");
        }
    }

    private void mayBegin() {
        if (stage != Stage.NOTHING) {
            throw new IllegalStateException("the answer has begun");
        }
    }
}
