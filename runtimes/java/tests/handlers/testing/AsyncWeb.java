package testing;

import io.github.nffi.http.AsyncHttpHandler;
import io.github.nffi.http.HttpExchange;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;

/** As Web, on threads of its own but for /hello, and what /here asks for. */
public final class AsyncWeb implements AsyncHttpHandler {
    private final ExecutorService executor = Executors.newCachedThreadPool(run -> {
        Thread thread = new Thread(run);
        thread.setDaemon(true);
        return thread;
    });
    private final Web web = new Web();

    @Override
    public CompletableFuture<Void> handle(HttpExchange x) throws Exception {
        switch (x.request().path()) {
            case "/hello", "/throw", "/nothing" -> {
                web.answer(x);
                return CompletableFuture.completedFuture(null);
            }
            case "/here/full" -> {
                x.start(200).write(new byte[1 << 20]);
                return CompletableFuture.completedFuture(null);
            }
            case "/here/null" -> {
                return null;
            }
            default -> {
                return CompletableFuture.runAsync(() -> {
                    try {
                        web.answer(x);
                    } catch (Exception e) {
                        throw new java.util.concurrent.CompletionException(e);
                    }
                }, executor);
            }
        }
    }
}
