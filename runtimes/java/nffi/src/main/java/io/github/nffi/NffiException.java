package io.github.nffi;

/**
 * An error that the caller is meant to see: in Lua, {@code nil, message, status}. It is no failure of the handler's, so
 * it leaves nothing in error.log.
 */
public class NffiException extends Exception {
    private static final long serialVersionUID = 1L;

    private final int status;

    /** Status 1. */
    public NffiException(String message) {
        this(1, message);
    }

    /**
     * An error with a number of the handler's own.
     *
     * @param status any number but 0, which is success
     */
    public NffiException(int status, String message) {
        this(status, message, null);
    }

    public NffiException(int status, String message, Throwable cause) {
        super(message == null ? "" : message, cause);
        if (status == 0) {
            throw new IllegalArgumentException("an error's status is any number but 0");
        }
        this.status = status;
    }

    public int status() {
        return status;
    }
}
