package conformance;

import io.github.nffi.Config;
import io.github.nffi.Handler;
import io.github.nffi.Request;
import java.nio.charset.StandardCharsets;

/** The variant {@code blocking}. */
public final class Blocking implements Handler {
    private final Conformance conformance = new Conformance();

    @Override
    public void init(Config config) throws Exception {
        conformance.init(config);
    }

    @Override
    public byte[] call(Request request) throws Exception {
        byte[] bytes = request.bytes();
        if (!Conformance.isCommand(bytes) || !request.text().startsWith("!sleep ")) {
            return conformance.answer(request);
        }
        try {
            Thread.sleep(Long.parseLong(request.text().substring("!sleep ".length())));
        } catch (InterruptedException e) {
            conformance.cancelled.incrementAndGet();
            throw e;
        }
        return "slept".getBytes(StandardCharsets.UTF_8);
    }
}
