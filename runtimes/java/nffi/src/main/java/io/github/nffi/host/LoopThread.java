package io.github.nffi.host;

/** A thread that takes requests in. */
final class LoopThread extends Thread {
    private final boolean mayNotWait;

    LoopThread(Runnable loop, String name, boolean mayNotWait) {
        super(loop, name);
        this.mayNotWait = mayNotWait;
        setDaemon(true);
    }

    /** Nobody would bring what it waited for. */
    boolean mayNotWait() {
        return mayNotWait;
    }
}
