package io.github.nffi.examples;

import com.google.gson.Gson;
import com.google.gson.JsonParseException;
import io.github.nffi.Config;
import io.github.nffi.http.AsyncHttpHandler;
import io.github.nffi.http.HttpExchange;
import io.github.nffi.http.HttpOutput;
import io.github.nffi.http.HttpRequest;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.List;
import java.util.Queue;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * A board of notes, in the memory of one worker: its page, an API in JSON, and its news as server-sent events. No thread
 * waits for a reader of the news, however many there are.
 *
 * <pre>
 *   GET  /         the page
 *   GET  /notes    the notes
 *   POST /notes    {"text": "..."}: one more
 *   GET  /news     each new one as it comes
 * </pre>
 *
 * Option {@code keep}: how many notes; 100 where it is not said.
 */
public final class Board implements AsyncHttpHandler {
    private static final int LONGEST = 10_000;
    /** A reader who lags further behind is let go. */
    private static final int MOST_UNSENT = 1000;

    private final Gson gson = new Gson();
    private final Deque<Note> notes = new ArrayDeque<>();
    private final Set<Reader> readers = ConcurrentHashMap.newKeySet();
    private byte[] page;
    private int keep;
    private int last;

    record Note(int number, String text) {
    }

    @Override
    public void init(Config config) throws IOException {
        keep = (int) config.number("keep", 100, 1, 100_000);
        try (InputStream in = Board.class.getResourceAsStream("/board.html")) {
            page = in.readAllBytes();
        }
    }

    @Override
    public CompletableFuture<Void> handle(HttpExchange x) {
        HttpRequest request = x.request();
        String path = request.path().substring(request.prefix().length());
        switch (request.method() + " " + path) {
            case "GET /", "HEAD /" -> {
                x.headers().set("Content-Type", "text/html; charset=utf-8");
                x.send(200, page);
            }
            case "GET /notes" -> json(x, 200, all());
            case "POST /notes" -> {
                return body(request, "").thenAccept(body -> add(x, body));
            }
            case "GET /news" -> {
                return new Reader(x).done;
            }
            default -> x.send(404, "no " + path + "\n");
        }
        return CompletableFuture.completedFuture(null);
    }

    /** The whole body, or the first part of one that is too long. */
    private static CompletableFuture<String> body(HttpRequest request, String before) {
        return request.readAsync().thenCompose(piece -> {
            if (piece == null || before.length() > 2 * LONGEST) {
                return CompletableFuture.completedFuture(before);
            }
            // A byte is a character here, so that none is torn between two pieces.
            return body(request, before + new String(piece, StandardCharsets.ISO_8859_1));
        });
    }

    private void add(HttpExchange x, String body) {
        Note note;
        try {
            String text = new String(body.getBytes(StandardCharsets.ISO_8859_1), StandardCharsets.UTF_8);
            note = gson.fromJson(text, Note.class);
        } catch (JsonParseException e) {
            note = null;
        }
        if (note == null || note.text() == null || note.text().isBlank() || note.text().length() > LONGEST) {
            x.send(400, "{\"text\": \"...\"} expected, with up to " + LONGEST + " characters\n");
            return;
        }
        synchronized (notes) {
            note = new Note(++last, note.text());
            notes.addLast(note);
            if (notes.size() > keep) {
                notes.removeFirst();
            }
        }
        json(x, 201, note);
        byte[] event = ("id: " + note.number() + "\ndata: " + gson.toJson(note) + "\n\n").getBytes(StandardCharsets.UTF_8);
        readers.forEach(reader -> reader.tell(event));
    }

    private List<Note> all() {
        synchronized (notes) {
            return List.copyOf(notes);
        }
    }

    private void json(HttpExchange x, int status, Object value) {
        x.headers().set("Content-Type", "application/json");
        x.send(status, gson.toJson(value).getBytes(StandardCharsets.UTF_8));
    }

    /** Of the news. What cannot be sent yet waits in a queue; one thread at a time sends. */
    private final class Reader {
        final CompletableFuture<Void> done = new CompletableFuture<>();
        private final HttpOutput out;
        private final Queue<byte[]> unsent = new ConcurrentLinkedQueue<>();
        /** In the queue, and on its way. */
        private final AtomicInteger waiting = new AtomicInteger();

        Reader(HttpExchange x) {
            x.headers().set("Content-Type", "text/event-stream").set("Cache-Control", "no-store");
            out = x.start(200);
            readers.add(this);
            done.whenComplete((nothing, e) -> readers.remove(this));
            // The head.
            tell(new byte[0]);
        }

        void tell(byte[] event) {
            unsent.add(event);
            int before = waiting.getAndIncrement();
            if (before == 0) {
                send();
            } else if (before > MOST_UNSENT) {
                done.complete(null);
            }
        }

        private void send() {
            out.sendAsync(unsent.remove()).whenComplete((sent, e) -> {
                if (e != null) {
                    done.complete(null);
                } else if (waiting.decrementAndGet() > 0) {
                    send();
                }
            });
        }
    }
}
