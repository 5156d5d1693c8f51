package testing;

import io.github.nffi.Config;
import io.github.nffi.Handler;
import io.github.nffi.Request;
import java.io.InputStream;
import java.io.OutputStream;
import java.lang.System.Logger.Level;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;

/** What the conformance handler does not do: the word before the first space is the command. */
public final class Odd implements Handler {
    private static final System.Logger LOG = System.getLogger("odd");

    @Override
    public void init(Config config) {
        config.all("word");
    }

    @Override
    public byte[] call(Request request) throws Exception {
        String[] words = request.text().split(" ", 2);
        String rest = words.length > 1 ? words[1] : "";
        return switch (words[0]) {
            case "memory" -> fill();
            case "overflow" -> overflow();
            case "class" -> throw new NoClassDefFoundError(rest);
            case "null-pointer" -> bytes("length " + nothing().length());
            case "null-pointers" -> bytes(Integer.toString(nulls(Integer.parseInt(rest))));
            case "exit" -> {
                System.exit(Integer.parseInt(rest));
                yield null;
            }
            case "pieces" -> pieces(request.output(), Integer.parseInt(rest));
            case "out" -> {
                System.out.println(rest);
                System.err.printf("%s%n", rest);
                LOG.log(Level.WARNING, "logger {0}", rest);
                yield bytes("said");
            }
            case "thread" -> bytes(inThread(rest));
            case "virtual" -> bytes(Thread.currentThread().toString());
            case "loader" -> bytes(String.valueOf(Thread.currentThread().getContextClassLoader() == Odd.class.getClassLoader()));
            case "left" -> bytes(request.timeLeft().map(left -> left.toMillis() > 1000 ? "seconds" : "less").orElse("for ever"));
            case "on-cancel" -> {
                CountDownLatch gone = new CountDownLatch(1);
                request.onCancel(gone::countDown);
                while (gone.getCount() > 0) {
                    Thread.onSpinWait();
                }
                System.out.println("gone " + request.isCancelled());
                yield null;
            }
            default -> copy(request);
        };
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private static String nothing() {
        return null;
    }

    /** So many that the check for null is compiled away, and the null is found by a SIGSEGV. */
    private static int nulls(int count) {
        int caught = 0;
        String[] texts = {"text", null};
        for (int i = 0; i < count; i++) {
            try {
                caught -= Math.min(0, texts[i % 1000 == 0 ? 1 : 0].length());
            } catch (NullPointerException e) {
                caught++;
            }
        }
        return caught;
    }

    private static byte[] fill() {
        List<long[]> all = new ArrayList<>();
        for (;;) {
            all.add(new long[1 << 20]);
        }
    }

    private static byte[] overflow() {
        byte[] deeper = overflow();
        return deeper.length > 0 ? deeper : overflow();
    }

    private static byte[] pieces(OutputStream out, int count) throws Exception {
        for (int i = 0; i < count; i++) {
            out.write(bytes("piece %06d ".formatted(i).repeat(500)));
        }
        return bytes("end");
    }

    private static String inThread(String text) throws InterruptedException {
        Thread thread = new Thread(() -> System.out.println("thread " + text));
        thread.start();
        thread.join();
        return "joined";
    }

    /** The request piece by piece, by way of a small buffer. */
    private static byte[] copy(Request request) throws Exception {
        try (InputStream in = new java.io.ByteArrayInputStream(request.bytes())) {
            in.transferTo(request.output());
        }
        return null;
    }

    @Override
    public void close() {
        System.out.println("odd is closed");
    }
}
