package io.github.nffi.http;

import java.io.FileDescriptor;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.Path;
import java.util.concurrent.CompletableFuture;

/**
 * The body of an answer, as it is made. What is written is gathered up to 16 KiB; {@code flush()} sends it, and the head
 * where that was not sent yet. Writing waits while the client has not taken what is on its way (nffi_window), and fails
 * where it has gone. What is left when the handler is done goes with the end: {@code close()} need not be called, and
 * does nothing.
 */
public abstract class HttpOutput extends OutputStream {
    /** For the host. */
    protected HttpOutput() {
    }

    /**
     * Sends what was gathered, and this piece, without waiting: for an {@link AsyncHttpHandler}. Of no bytes, it is a
     * flush. The next is sent when the future is done.
     *
     * @param piece must not be changed until then
     * @return done when the client has taken enough of what is on its way, on the thread that takes requests in. Fails
     *         with an IOException where the client has gone
     */
    public abstract CompletableFuture<Void> sendAsync(byte[] piece);

    /**
     * A part of a file is the next piece, and nginx sends it. It must not shrink meanwhile.
     *
     * @param length -1: to the file's end
     */
    public abstract void writeFile(Path file, long offset, long length) throws IOException;

    /**
     * The same with an open file, as {@code getFD()} of a FileInputStream or a RandomAccessFile gives it. It stays the
     * caller's, who may close it afterwards; its position neither matters nor moves.
     */
    public abstract void writeFile(FileDescriptor file, long offset, long length) throws IOException;
}
