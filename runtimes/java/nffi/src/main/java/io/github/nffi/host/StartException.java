package io.github.nffi.host;

/** A runtime that cannot start; the message says why. */
final class StartException extends Exception {
    private static final long serialVersionUID = 1L;

    StartException(String message) {
        super(message);
    }
}
