package conformance;

import io.github.nffi.Config;
import io.github.nffi.NffiException;
import io.github.nffi.Request;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.atomic.AtomicLong;
import java.util.logging.Level;
import java.util.logging.Logger;

/** What the blocking handler and the one of futures have in common: all commands but those that wait. */
final class Conformance {
    private static final Logger LOG = Logger.getLogger("conformance");

    final AtomicLong cancelled = new AtomicLong();
    private String greeting;

    void init(Config config) throws NffiException, InterruptedException {
        greeting = config.get("greeting", "");
        Thread.sleep(config.number("init_sleep", 0, 0, 60_000));
        String failure = config.get("init_fail");
        if (failure != null) {
            throw new NffiException(failure);
        }
    }

    static boolean isCommand(byte[] request) {
        return request.length > 0 && request[0] == '!';
    }

    byte[] answer(Request request) throws NffiException, IOException, InterruptedException {
        byte[] bytes = request.bytes();
        if (!isCommand(bytes)) {
            return bytes;
        }
        String[] words = request.text().split(" ", 2);
        String rest = words.length > 1 ? words[1] : "";
        String answer = switch (words[0]) {
            case "!greeting" -> greeting;
            case "!fail" -> throw failure(rest);
            case "!error" -> throw new NffiException(rest);
            case "!throw" -> throw new IllegalStateException(rest);
            case "!cancelled" -> Long.toString(cancelled.get());
            case "!log" -> log(rest);
            case "!env" -> environment(rest);
            case "!cwd" -> System.getProperty("user.dir");
            case "!run" -> run(rest);
            default -> throw new NffiException(400, "unknown command " + words[0]);
        };
        return answer.getBytes(StandardCharsets.UTF_8);
    }

    private static NffiException failure(String rest) {
        String[] words = rest.split(" ", 2);
        return new NffiException(Integer.parseInt(words[0]), words.length > 1 ? words[1] : "");
    }

    private static String log(String rest) throws NffiException {
        String[] words = rest.split(" ", 2);
        Level level = switch (words[0]) {
            case "debug" -> Level.FINE;
            case "info" -> Level.INFO;
            case "warn" -> Level.WARNING;
            case "error" -> Level.SEVERE;
            default -> throw new NffiException("no level " + words[0]);
        };
        LOG.log(level, words.length > 1 ? words[1] : "");
        return "logged";
    }

    private static String environment(String name) throws NffiException {
        String value = System.getenv(name);
        if (value == null) {
            throw new NffiException("no " + name);
        }
        return value;
    }

    private static String run(String command) throws IOException, InterruptedException {
        Process process = new ProcessBuilder("sh", "-c", command).redirectError(ProcessBuilder.Redirect.DISCARD).start();
        process.getOutputStream().close();
        String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        return process.waitFor() + " " + output;
    }
}
