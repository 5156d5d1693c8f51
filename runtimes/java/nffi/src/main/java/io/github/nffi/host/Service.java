package io.github.nffi.host;

import io.github.nffi.Config;
import io.github.nffi.NffiException;
import java.lang.reflect.InvocationTargetException;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Consumer;

/** One runtime: its handler, and what runs of it. */
final class Service {
    /** Which runtime a thread belongs to, so that its log lines do: a loop's, and threads that those have started. */
    private static final InheritableThreadLocal<Service> OF_THREAD = new InheritableThreadLocal<>();
    /** Which call a thread is busy with. */
    private static final ThreadLocal<Task> CALL = new ThreadLocal<>();

    private final Host host;
    private final Options options;
    private final URLClassLoader loader;
    private final App app;
    private final ConcurrentHashMap<Long, Task> tasks = new ConcurrentHashMap<>();

    Service(Host host, Options options, URLClassLoader loader, App app) {
        this.host = new Gate(host);
        this.options = options;
        this.loader = loader;
        this.app = app;
    }

    /** Loads the class, initialises it, starts the threads. */
    static Service start(Host host, Options options) throws StartException {
        URLClassLoader loader = Loaders.take(options);
        Thread thread = Thread.currentThread();
        ClassLoader before = thread.getContextClassLoader();
        boolean started = false;
        // Initialised while there is memory for it.
        Objects.requireNonNull(Outcome.UNTOLD);
        try {
            // What init starts inherits both.
            thread.setContextClassLoader(loader);
            App app = App.of(instantiate(options, loader));
            if (app.http() && !host.hasHttp()) {
                throw new StartException("handler " + options.handler() + ": is an " + app.kind().getSimpleName()
                        + ", and this host has no HTTP");
            }
            Service service = new Service(host, options, loader, app);
            OF_THREAD.set(service);
            Logs.add(service);
            try {
                service.initialise();
                service.startLoops();
                started = true;
            } finally {
                if (!started) {
                    Logs.remove(service);
                }
            }
            return service;
        } finally {
            OF_THREAD.remove();
            thread.setContextClassLoader(before);
            if (!started) {
                Loaders.give(loader, options);
            }
        }
    }

    private static Object instantiate(Options options, ClassLoader loader) throws StartException {
        String name = options.handler();
        try {
            Class<?> type = Class.forName(name, true, loader);
            App.kind(type);
            var constructor = type.getDeclaredConstructor();
            constructor.setAccessible(true);
            return constructor.newInstance();
        } catch (ClassNotFoundException e) {
            throw new StartException("handler " + name + ": no such class on class_path " + options.classPath());
        } catch (NoSuchMethodException e) {
            throw new StartException("handler " + name + ": has no constructor without parameters");
        } catch (InvocationTargetException e) {
            throw new StartException("handler " + name + ": its constructor failed: " + Logs.text(e.getCause()));
        } catch (ReflectiveOperationException | LinkageError e) {
            throw new StartException("handler " + name + ": " + Logs.text(e));
        }
    }

    private void initialise() throws StartException {
        Config own = options.own();
        try {
            app.init().run(own);
        } catch (NffiException | IllegalArgumentException e) {
            // Meant for whoever wrote nginx.conf.
            throw new StartException(e.getMessage());
        } catch (Throwable e) {
            logTrace(null, "", e);
            throw new StartException(Logs.text(e));
        }
        Set<String> unasked = own.unasked();
        if (!unasked.isEmpty()) {
            throw new StartException("unknown option \"" + unasked.iterator().next() + "\": neither the Java host nor "
                    + options.handler() + " knows it");
        }
    }

    private void startLoops() throws StartException {
        String name = options.handler().substring(options.handler().lastIndexOf('.') + 1);
        if (app.blocking() == null) {
            if (options.threads() == Options.VIRTUAL) {
                throw new StartException("threads virtual: is for a Handler or an HttpHandler, " + options.handler()
                        + " is an " + app.kind().getSimpleName());
            }
            new EventLoop(this, new Starter.OfFutures(this, app.async())).start(name, Math.max(1, options.threads()));
        } else if (options.threads() == Options.VIRTUAL) {
            new EventLoop(this, new Starter.OfVirtualThreads(this, app.blocking())).start(name, 1);
        } else {
            new PoolLoop(this, app.blocking(), options.threads()).start(name);
        }
    }

    Host host() {
        return host;
    }

    Options options() {
        return options;
    }

    /** A loop's thread that has not been started yet, with its batch. */
    LoopThread thread(Consumer<Batch> loop, String name, boolean mayNotWait) {
        Batch batch = new Batch(host);
        LoopThread thread = new LoopThread(() -> runLoop(loop, batch), name, mayNotWait);
        thread.setContextClassLoader(loader);
        return thread;
    }

    /** One batch for all rounds: it has answers that are not sent, and events that nobody has looked at. */
    private void runLoop(Consumer<Batch> loop, Batch batch) {
        OF_THREAD.set(this);
        for (;;) {
            try {
                loop.accept(batch);
                return;
            } catch (Throwable e) {
                // No memory for a few bytes, most likely. A runtime without threads would be worse than a lost call.
                logTrace(null, "", e);
            }
        }
    }

    /** What the batch stands at becomes a task; null where that fails, for want of memory, and it has been answered. */
    Task accept(int kind, Batch batch) {
        long id = batch.task();
        if (app.http() != (kind == Host.HTTP)) {
            batch.answer(id, app.http() ? Outcome.NOT_MESSAGES : Outcome.NOT_HTTP);
            return null;
        }
        Task task = null;
        try {
            task = app.http() ? new Exchange(this, id, batch.flags(), batch.data())
                    : new Call(this, id, batch.flags(), batch.deadline(), batch.data());
            tasks.put(id, task);
        } catch (Throwable e) {
            Outcome refusal = Outcome.refusal(e);
            if (task == null) {
                batch.answer(id, refusal);
            } else {
                // It may be in the map all the same, and cancelled by another thread.
                finish(task, refusal, batch);
            }
            return null;
        }
        // CANCEL may have gone to another thread, before there was anything to find.
        if (host.cancelled(id) && task.cancel()) {
            send(task, Outcome.CANCELLED, batch);
            return null;
        }
        return task;
    }

    /** READABLE, WRITABLE, CANCEL. Throws nothing: whoever calls it has more to do. */
    void signal(int kind, Batch batch) {
        try {
            bring(kind, batch);
        } catch (Throwable e) {
            logTrace(null, "", e);
        }
    }

    private void bring(int kind, Batch batch) {
        Task task = tasks.get(batch.task());
        if (task == null) {
            return;
        }
        switch (kind) {
            case Host.READABLE -> task.pieces.readable();
            case Host.WRITABLE -> task.pieces.writable();
            case Host.CANCEL -> {
                if (task.cancel()) {
                    send(task, Outcome.CANCELLED, batch);
                }
            }
            default -> {
                // of a later version
            }
        }
    }

    /** Runs the handler here, and ends the task, come what may. {@code batch} is the calling thread's, or null. */
    void run(App.Blocking blocking, Task task, Batch batch) {
        Outcome outcome = Outcome.UNTOLD;
        try {
            outcome = call(blocking, task);
        } finally {
            finish(task, outcome, batch);
        }
    }

    private static Outcome call(App.Blocking blocking, Task task) {
        try {
            CALL.set(task);
            task.runsHere();
            return task.answered(blocking.run(task));
        } catch (Throwable e) {
            return Outcome.failure(e, task);
        } finally {
            task.ranHere();
            CALL.remove();
        }
    }

    /** What throws. */
    interface Body {
        void run() throws Exception;
    }

    /** Calls the handler here, for a future. */
    void within(Task task, Body body) throws Exception {
        CALL.set(task);
        try {
            body.run();
        } finally {
            CALL.remove();
        }
    }

    /** Ends a task. {@code batch} is the calling thread's, or null. */
    void finish(Task task, Outcome outcome, Batch batch) {
        if (task.end()) {
            send(task, outcome, batch);
        }
    }

    /** Of a task that this thread has ended. What is in a batch goes out before its thread leaves the loop. */
    private void send(Task task, Outcome outcome, Batch batch) {
        try {
            task.ending();
            if (batch == null) {
                host.reply(task.id, outcome);
            } else {
                batch.answer(task.id, outcome);
            }
        } finally {
            // While it is there, stopped() is not said, and READABLE and WRITABLE find it.
            tasks.remove(task.id);
            task.ended();
        }
    }

    boolean busy() {
        return !tasks.isEmpty();
    }

    void cancelAll() {
        for (Task task : tasks.values()) {
            if (task.cancel()) {
                send(task, Outcome.CANCELLED, null);
            }
        }
    }

    /** The last word. Runs on: the last thread of the runtime's loops. */
    void over() {
        try {
            app.close().run();
        } catch (Throwable e) {
            logTrace(null, "close: ", e);
        }
        try {
            Logs.remove(this);
            Loaders.give(loader, options);
        } finally {
            host.stopped();
        }
    }

    /** As {@link #log}, and throws nothing: what a line is told of must go on where there is no memory for it. */
    void logTrace(Task task, String before, Throwable thrown) {
        try {
            log(task, Host.ERR, before + Logs.trace(thrown));
        } catch (Throwable e) {
            // Then the line is what is lost.
        }
    }

    /** A line in the host's log for each line of the text, all with the task's request where there is one. */
    void log(Task task, int level, String text) {
        text.lines().forEach(line -> host.log(task == null ? 0 : task.id, level, line.getBytes(StandardCharsets.UTF_8)));
    }

    static Service ofThread() {
        return OF_THREAD.get();
    }

    static Task currentTask() {
        return CALL.get();
    }

    ClassLoader loader() {
        return loader;
    }
}
