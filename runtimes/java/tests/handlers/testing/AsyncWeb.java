package testing;

import io.github.nffi.http.AsyncHttpHandler;
import io.github.nffi.http.HttpConnection;
import io.github.nffi.http.HttpExchange;
import io.github.nffi.http.HttpOutput;
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
        switch (x.request().path().substring(x.request().prefix().length())) {
            case "/hello", "/throw", "/nothing" -> {
                web.answer(x);
                return CompletableFuture.completedFuture(null);
            }
            case "/here/full" -> {
                x.start(200).write(new byte[64 << 20]);
                return CompletableFuture.completedFuture(null);
            }
            case "/here/stream" -> {
                return stream(x.start(200), new byte[(int) Web.number(x, "size", 10)], Web.number(x, "n", 3));
            }
            case "/here/echo" -> {
                return echo(x, x.start(200));
            }
            case "/here/upgrade" -> {
                return back(x.upgrade());
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

    private static CompletableFuture<Void> stream(HttpOutput out, byte[] piece, long left) {
        return left == 0 ? CompletableFuture.completedFuture(null)
                : out.sendAsync(piece).thenCompose(sent -> stream(out, piece, left - 1));
    }

    private static CompletableFuture<Void> echo(HttpExchange x, HttpOutput out) {
        return x.request().readAsync().thenCompose(piece -> piece == null ? CompletableFuture.completedFuture(null)
                : out.sendAsync(piece).thenCompose(sent -> echo(x, out)));
    }

    private static CompletableFuture<Void> back(HttpConnection connection) {
        return connection.readAsync().thenCompose(piece -> piece == null ? CompletableFuture.completedFuture(null)
                : connection.output().sendAsync(piece).thenCompose(sent -> back(connection)));
    }
}
