package io.github.nffi.host;

/** Threads that take requests in and start them, and wait for none of them. */
final class EventLoop {
    private final Service service;
    private final Starter starter;

    EventLoop(Service service, Starter starter) {
        this.service = service;
        this.starter = starter;
    }

    void start(String name, int threads) {
        Closing closing = new Closing(service, threads);
        for (int i = 0; i < threads; i++) {
            service.thread(batch -> loop(closing, batch), name + "-" + i, true).start();
        }
    }

    private void loop(Closing closing, Batch batch) {
        boolean stop = false;
        while (!stop) {
            if (!batch.hasNext()) {
                batch.exchange(Batch.MOST, -1);
            }
            while (batch.hasNext()) {
                int kind = batch.next();
                if (Host.isRequest(kind)) {
                    Task task = service.accept(kind, batch);
                    if (task != null && task.begin()) {
                        starter.start(task, batch);
                    }
                } else if (kind == Host.STOP) {
                    stop = true;
                } else {
                    service.signal(kind, batch);
                }
            }
        }
        closing.leave(batch);
    }
}
