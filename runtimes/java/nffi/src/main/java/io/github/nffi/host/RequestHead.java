package io.github.nffi.host;

import io.github.nffi.http.Headers;
import io.github.nffi.http.HttpRequest;
import java.io.IOException;
import java.io.InputStream;
import java.net.URLDecoder;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;

/** A request as heads.rs has laid it out: numbers, then lengths, then all strings. They are made when asked for. */
final class RequestHead implements HttpRequest {
    private static final int UPGRADE = 1;
    /** Of a body that is there, at once. */
    private static final int PIECE = 64 * 1024;

    private static final int FLAGS = 0;
    private static final int VERSION = 4;
    private static final int CLIENT_PORT = 8;
    private static final int SERVER_PORT = 12;
    private static final int CONTENT_LENGTH = 16;
    private static final int BODY = 24;
    private static final int BODY_LENGTH = 32;
    private static final int BODY_FILE = 40;
    private static final int BODY_INLINED = 44;
    private static final int HEADERS = 48;
    private static final int PARAMS = 52;
    private static final int LENGTHS = 56;

    /** In their order. */
    private static final int METHOD = 0;
    private static final int RAW_PATH = 1;
    private static final int PATH = 2;
    private static final int QUERY = 3;
    private static final int PREFIX = 4;
    private static final int SCHEME = 5;
    private static final int CLIENT_ADDRESS = 6;
    private static final int SERVER_ADDRESS = 7;
    private static final int SERVER_NAME = 8;
    private static final int STRINGS = 9;
    private static final int PAIRS = LENGTHS + 4 * STRINGS;

    private final byte[] block;
    private final ByteBuffer numbers;
    private final InputStream body;
    /** Where the body comes in them; null elsewhere. */
    private final Pieces pieces;
    /** Made when first asked for; two threads may make the same. */
    private volatile Headers headers;
    private volatile Map<String, String> params;

    /**
     * A request whose body comes in pieces, or is in the block, or is lent by the host: then {@link #body} is a
     * {@link LentBody}.
     */
    RequestHead(byte[] block, Host host, Pieces pieces, boolean more) {
        this.block = block;
        numbers = ByteBuffer.wrap(block).order(ByteOrder.nativeOrder());
        long length = numbers.getLong(BODY_LENGTH);
        int fd = numbers.getInt(BODY_FILE);
        this.pieces = more ? pieces : null;
        if (more) {
            body = pieces.input();
        } else if (numbers.getInt(BODY_INLINED) == 1) {
            body = new java.io.ByteArrayInputStream(block, block.length - (int) length, (int) length);
        } else if (length > 0) {
            body = LentBody.inMemory(host, numbers.getLong(BODY), length);
        } else if (fd >= 0) {
            body = LentBody.inFile(host, fd, contentLength());
        } else {
            body = InputStream.nullInputStream();
        }
    }

    private int length(int string) {
        return numbers.getInt(LENGTHS + 4 * string);
    }

    private int pairs() {
        return numbers.getInt(HEADERS) + numbers.getInt(PARAMS);
    }

    private String string(int string, Charset charset) {
        int at = PAIRS + 8 * pairs();
        for (int before = 0; before < string; before++) {
            at += length(before);
        }
        return new String(block, at, length(string), charset);
    }

    private String string(int string) {
        return string(string, StandardCharsets.ISO_8859_1);
    }

    /** The pairs from one to before another. */
    private void pairs(int from, int to, List<String> names, List<String> values) {
        int at = PAIRS + 8 * pairs();
        for (int i = 0; i < STRINGS; i++) {
            at += length(i);
        }
        for (int i = 0; i < to; i++) {
            int name = numbers.getInt(PAIRS + 8 * i);
            int value = numbers.getInt(PAIRS + 8 * i + 4);
            if (i >= from) {
                names.add(new String(block, at, name, StandardCharsets.ISO_8859_1));
                values.add(new String(block, at + name, value, StandardCharsets.ISO_8859_1));
            }
            at += name + value;
        }
    }

    @Override
    public String method() {
        return string(METHOD);
    }

    @Override
    public String path() {
        return string(PATH, StandardCharsets.UTF_8);
    }

    @Override
    public String rawPath() {
        return string(RAW_PATH);
    }

    @Override
    public String query() {
        return string(QUERY);
    }

    @Override
    public String query(String name) {
        for (String pair : query().split("&")) {
            int equals = pair.indexOf('=');
            if (decoded(equals < 0 ? pair : pair.substring(0, equals)).equals(name)) {
                return equals < 0 ? "" : decoded(pair.substring(equals + 1));
            }
        }
        return null;
    }

    private static String decoded(String text) {
        try {
            return URLDecoder.decode(text, StandardCharsets.UTF_8);
        } catch (IllegalArgumentException e) {
            // A percent sign that stands for itself.
            return text;
        }
    }

    @Override
    public String prefix() {
        return string(PREFIX, StandardCharsets.UTF_8);
    }

    @Override
    public String version() {
        int version = numbers.getInt(VERSION);
        return "HTTP/" + version / 1000 + "." + version % 1000;
    }

    @Override
    public String scheme() {
        return string(SCHEME);
    }

    @Override
    public String clientAddress() {
        return string(CLIENT_ADDRESS);
    }

    @Override
    public int clientPort() {
        return numbers.getInt(CLIENT_PORT);
    }

    @Override
    public String serverAddress() {
        return string(SERVER_ADDRESS);
    }

    @Override
    public int serverPort() {
        return numbers.getInt(SERVER_PORT);
    }

    @Override
    public String serverName() {
        return string(SERVER_NAME);
    }

    @Override
    public Headers headers() {
        Headers made = headers;
        if (made == null) {
            List<String> names = new ArrayList<>();
            List<String> values = new ArrayList<>();
            pairs(0, numbers.getInt(HEADERS), names, values);
            made = new Headers(names, values);
            headers = made;
        }
        return made;
    }

    @Override
    public Map<String, String> params() {
        Map<String, String> made = params;
        if (made == null) {
            List<String> names = new ArrayList<>();
            List<String> values = new ArrayList<>();
            pairs(numbers.getInt(HEADERS), pairs(), names, values);
            made = new LinkedHashMap<>();
            for (int i = 0; i < names.size(); i++) {
                made.put(names.get(i), values.get(i));
            }
            made = Collections.unmodifiableMap(made);
            params = made;
        }
        return made;
    }

    @Override
    public long contentLength() {
        return numbers.getLong(CONTENT_LENGTH);
    }

    @Override
    public boolean canUpgrade() {
        return (numbers.getInt(FLAGS) & UPGRADE) != 0;
    }

    @Override
    public InputStream body() {
        return body;
    }

    @Override
    public CompletableFuture<byte[]> readAsync() {
        if (pieces != null) {
            return pieces.readAsync();
        }
        try {
            byte[] piece = body.readNBytes(PIECE);
            return CompletableFuture.completedFuture(piece.length == 0 ? null : piece);
        } catch (IOException e) {
            return CompletableFuture.failedFuture(e);
        }
    }

    @Override
    public byte[] bytes() throws IOException {
        return body.readAllBytes();
    }
}
