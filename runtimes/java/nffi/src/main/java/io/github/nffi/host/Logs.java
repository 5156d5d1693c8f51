package io.github.nffi.host;

import java.io.OutputStream;
import java.io.PrintStream;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.logging.ConsoleHandler;
import java.util.logging.Handler;
import java.util.logging.Level;
import java.util.logging.LogRecord;
import java.util.logging.Logger;
import java.util.logging.SimpleFormatter;

/**
 * The way of log lines to error.log: java.util.logging, System.Logger (which the JDK sends there), System.out and
 * System.err. All of these belong to the JVM; a line goes to the runtime of the thread that wrote it.
 */
final class Logs {
    private static final Map<String, Level> LEVELS = Map.of("debug", Level.FINE, "info", Level.INFO, "notice", Level.INFO,
            "warn", Level.WARNING, "error", Level.SEVERE);

    private static final List<Service> SERVICES = new CopyOnWriteArrayList<>();
    /** A field, since a logger that nobody holds loses its handlers. */
    private static final Logger ROOT = Logger.getLogger("");
    private static final PrintStream STDERR = System.err;
    private static boolean installed;

    private Logs() {
    }

    /** From the first runtime on. */
    static synchronized void add(Service service) {
        SERVICES.add(service);
        if (!installed) {
            installed = true;
            for (Handler handler : ROOT.getHandlers()) {
                // It writes to System.err, and so each line would come twice.
                if (handler instanceof ConsoleHandler) {
                    ROOT.removeHandler(handler);
                }
            }
            ROOT.addHandler(new Bridge());
            System.setOut(new PrintStream(new Lines(Host.INFO), true, StandardCharsets.UTF_8));
            System.setErr(new PrintStream(new Lines(Host.WARN), true, StandardCharsets.UTF_8));
        }
        // Down to what any of them wants; a logging.properties of the user's own may go further.
        Level wanted = level(service);
        if (ROOT.getLevel() == null || wanted.intValue() < ROOT.getLevel().intValue()) {
            ROOT.setLevel(wanted);
        }
    }

    static void remove(Service service) {
        SERVICES.remove(service);
    }

    private static Level level(Service service) {
        return LEVELS.getOrDefault(service.options().logLevel(), Level.INFO);
    }

    /** The runtime that a line of this thread belongs to; where nobody knows, the first. Null where there is none. */
    private static Service service() {
        Task task = Service.currentTask();
        if (task != null) {
            return task.service();
        }
        Service own = Service.ofThread();
        if (own != null && SERVICES.contains(own)) {
            return own;
        }
        ClassLoader loader = Thread.currentThread().getContextClassLoader();
        Service first = null;
        for (Service service : SERVICES) {
            if (service.loader() == loader) {
                return service;
            }
            first = first == null ? service : first;
        }
        return first;
    }

    private static void write(Service service, int level, String text) {
        if (service == null) {
            STDERR.println(text);
        } else {
            service.log(Service.currentTask(), level, text);
        }
    }

    /** What it says of itself; its class, where its own methods throw. */
    static String text(Throwable thrown) {
        try {
            return Objects.requireNonNull(thrown.toString());
        } catch (Throwable e) {
            return thrown.getClass().getName();
        }
    }

    /** Its stack trace, or why there is none: it is made by methods that anybody may have overridden. */
    static String trace(Throwable thrown) {
        try {
            return printed(thrown);
        } catch (Throwable e) {
            return text(thrown) + "\n    no stack trace: " + e.getClass().getName() + " while it was printed";
        }
    }

    private static String printed(Throwable thrown) {
        StringWriter text = new StringWriter();
        thrown.printStackTrace(new PrintWriter(text));
        // A log shows a tab as what it is, a control character.
        return text.toString().stripTrailing().replace("\t", "    ");
    }

    /** java.util.logging. */
    private static final class Bridge extends Handler {
        Bridge() {
            setFormatter(new SimpleFormatter());
        }

        @Override
        public void publish(LogRecord line) {
            Service service = service();
            if (!isLoggable(line) || (service != null && line.getLevel().intValue() < level(service).intValue())) {
                return;
            }
            String text = getFormatter().formatMessage(line);
            if (line.getLoggerName() != null && !line.getLoggerName().isEmpty()) {
                text = line.getLoggerName() + ": " + text;
            }
            if (line.getThrown() != null) {
                text += "\n" + trace(line.getThrown());
            }
            write(service, number(line.getLevel().intValue()), text);
        }

        private static int number(int level) {
            if (level >= Level.SEVERE.intValue()) {
                return Host.ERR;
            }
            if (level >= Level.WARNING.intValue()) {
                return Host.WARN;
            }
            return level >= Level.INFO.intValue() ? Host.INFO : Host.DEBUG;
        }

        @Override
        public void flush() {
            // Nothing is held back.
        }

        @Override
        public void close() {
            // Nothing to give back.
        }
    }

    /** System.out, System.err: cut into lines, those of each thread for themselves. */
    private static final class Lines extends OutputStream {
        private static final int LONGEST = 16 * 1024;

        private final int level;
        private final ThreadLocal<StringBytes> line = ThreadLocal.withInitial(StringBytes::new);

        Lines(int level) {
            this.level = level;
        }

        private static final class StringBytes extends java.io.ByteArrayOutputStream {
            String take() {
                String text = toString(StandardCharsets.UTF_8);
                reset();
                return text;
            }
        }

        @Override
        public void write(int b) {
            StringBytes own = line.get();
            if (b == '\n' || own.size() >= LONGEST) {
                Logs.write(service(), level, own.take());
            }
            if (b != '\n' && b != '\r') {
                own.write(b);
            }
        }

        @Override
        public void write(byte[] bytes, int offset, int length) {
            for (int i = offset; i < offset + length; i++) {
                write(bytes[i]);
            }
        }
    }
}
