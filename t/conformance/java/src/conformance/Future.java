package conformance;

import io.github.nffi.AsyncHandler;
import io.github.nffi.Config;
import io.github.nffi.Request;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.TimeUnit;

/** The variant {@code future}. */
public final class Future implements AsyncHandler {
    private final Conformance conformance = new Conformance();

    @Override
    public void init(Config config) throws Exception {
        conformance.init(config);
    }

    @Override
    public CompletableFuture<byte[]> call(Request request) throws Exception {
        byte[] bytes = request.bytes();
        if (!Conformance.isCommand(bytes)) {
            return CompletableFuture.completedFuture(bytes);
        }
        String text = request.text();
        if (text.startsWith("!sleep ")) {
            return sleep(Long.parseLong(text.substring("!sleep ".length())));
        }
        if (text.startsWith("!run ")) {
            return CompletableFuture.supplyAsync(() -> {
                try {
                    return conformance.answer(request);
                } catch (Exception e) {
                    throw new CompletionException(e);
                }
            });
        }
        return CompletableFuture.completedFuture(conformance.answer(request));
    }

    private CompletableFuture<byte[]> sleep(long millis) {
        CompletableFuture<byte[]> future = new CompletableFuture<>();
        future.completeOnTimeout("slept".getBytes(StandardCharsets.UTF_8), millis, TimeUnit.MILLISECONDS);
        future.whenComplete((answer, e) -> {
            if (future.isCancelled()) {
                conformance.cancelled.incrementAndGet();
            }
        });
        return future;
    }
}
