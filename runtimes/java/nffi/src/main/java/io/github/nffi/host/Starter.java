package io.github.nffi.host;

import java.lang.reflect.InvocationTargetException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/** How a loop sets a task going without waiting for it. */
interface Starter {
    /** Ends the task, now with the loop's batch or later without. */
    void start(Task task, Batch batch);

    /** An asynchronous handler: called here, answered by its future. */
    record OfFutures(Service service, App.Async handler) implements Starter {
        @Override
        public void start(Task task, Batch batch) {
            try {
                service.within(task, () -> call(task, batch));
            } catch (Throwable e) {
                // Also of a future whose methods are the handler's own.
                service.finish(task, Outcome.failure(e, task), batch);
            }
        }

        private void call(Task task, Batch batch) throws Exception {
            CompletableFuture<?> future = handler.begin(task);
            if (future == null) {
                throw new NullPointerException("the handler returned null instead of a future");
            }
            if (future.isDone()) {
                // Answered with all others of this round.
                future.whenComplete((answer, e) -> finish(task, answer, e, batch));
                return;
            }
            task.runsAs(future);
            future.whenComplete((answer, e) -> finish(task, answer, e, null));
        }

        private void finish(Task task, Object answer, Throwable e, Batch batch) {
            Outcome outcome;
            try {
                outcome = e == null ? task.answered(answer) : Outcome.failure(e, task);
            } catch (Throwable late) {
                outcome = Outcome.failure(late, task);
            }
            service.finish(task, outcome, batch);
        }
    }

    /** A blocking handler: a virtual thread for each call. */
    final class OfVirtualThreads implements Starter {
        private final Service service;
        private final App.Blocking handler;
        private final ExecutorService executor;

        OfVirtualThreads(Service service, App.Blocking handler) throws StartException {
            this.service = service;
            this.handler = handler;
            try {
                // By name: this is compiled for Java 17, which has none.
                executor = (ExecutorService) Executors.class.getMethod("newVirtualThreadPerTaskExecutor").invoke(null);
            } catch (NoSuchMethodException e) {
                throw new StartException("threads virtual: needs Java 21 or later, this is " + Runtime.version());
            } catch (IllegalAccessException | InvocationTargetException e) {
                throw new StartException("threads virtual: " + e);
            }
        }

        @Override
        public void start(Task task, Batch batch) {
            try {
                executor.execute(() -> service.run(handler, task, null));
            } catch (Throwable e) {
                service.finish(task, Outcome.failure(e, task), batch);
            }
        }
    }
}
