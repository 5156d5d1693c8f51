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
            service.thread(() -> loop(closing), name + "-" + i, true).start();
        }
    }

    private void loop(Closing closing) {
        Batch batch = new Batch(service.host());
        boolean stop = false;
        while (!stop) {
            int count = batch.exchange(Batch.MOST, -1);
            for (int i = 0; i < count; i++) {
                int kind = batch.next();
                if (kind == Host.CALL) {
                    Task task = service.accept(batch);
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
