package testing;

import io.github.nffi.Handler;
import io.github.nffi.Request;

/** Sends back what comes, as it comes. */
public final class Copy implements Handler {
    @Override
    public byte[] call(Request request) throws Exception {
        request.input().transferTo(request.output());
        return null;
    }
}
