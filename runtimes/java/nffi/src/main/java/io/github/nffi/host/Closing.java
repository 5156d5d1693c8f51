package io.github.nffi.host;

import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * The end of a runtime's loop threads. The first that sees STOP stays, brings what waits its pieces, and after a while
 * cancels what still runs: by then the host has given it up. When all is quiet it says so.
 */
final class Closing {
    /** A host that is told to terminate waits for a second. */
    private static final long GRACE_NANOS = 400_000_000L;

    private final Service service;
    private final AtomicInteger threads;
    private final AtomicBoolean taken = new AtomicBoolean();

    Closing(Service service, int threads) {
        this.service = service;
        this.threads = new AtomicInteger(threads);
    }

    /** Called by each thread once, as its last act. */
    void leave(Batch batch) {
        batch.flush();
        threads.decrementAndGet();
        if (!taken.compareAndSet(false, true)) {
            return;
        }
        long begin = System.nanoTime();
        boolean cancelled = false;
        while (threads.get() > 0 || service.busy()) {
            if (!cancelled && System.nanoTime() - begin > GRACE_NANOS) {
                service.cancelAll();
                cancelled = true;
            }
            batch.exchange(Batch.MOST, 0);
            while (batch.hasNext()) {
                service.signal(batch.next(), batch);
            }
            batch.flush();
            try {
                Thread.sleep(1);
            } catch (InterruptedException e) {
                // Somebody else's; there is nothing to stop here.
            }
        }
        service.over();
    }
}
