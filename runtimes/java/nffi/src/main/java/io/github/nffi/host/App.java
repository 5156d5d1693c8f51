package io.github.nffi.host;

import io.github.nffi.AsyncHandler;
import io.github.nffi.Config;
import io.github.nffi.Handler;
import io.github.nffi.http.AsyncHttpHandler;
import io.github.nffi.http.HttpExchange;
import io.github.nffi.http.HttpHandler;
import io.github.nffi.Request;
import java.util.List;
import java.util.concurrent.CompletableFuture;

/** A handler, whichever of the four interfaces its class implements. */
record App(Class<?> kind, boolean http, Blocking blocking, Async async, Start init, Stop close) {
    private static final List<Class<?>> KINDS =
            List.of(Handler.class, AsyncHandler.class, HttpHandler.class, AsyncHttpHandler.class);

    /** Null of a handler of futures. */
    interface Blocking {
        Object run(Task task) throws Exception;
    }

    /** Null of a blocking handler. */
    interface Async {
        CompletableFuture<?> begin(Task task) throws Exception;
    }

    interface Start {
        void run(Config config) throws Exception;
    }

    interface Stop {
        void run() throws Exception;
    }

    /** Which interface a class implements. */
    static Class<?> kind(Class<?> type) throws StartException {
        List<Class<?>> kinds = KINDS.stream().filter(kind -> kind.isAssignableFrom(type)).toList();
        if (kinds.size() == 1) {
            return kinds.get(0);
        }
        if (kinds.isEmpty()) {
            throw new StartException("handler " + type.getName() + ": implements none of " + names(KINDS));
        }
        throw new StartException("handler " + type.getName() + ": implements " + names(kinds) + ", and may be one of them only");
    }

    private static String names(List<Class<?>> kinds) {
        return String.join(", ", kinds.stream().map(Class::getName).toList());
    }

    static App of(Object handler) throws StartException {
        Class<?> kind = kind(handler.getClass());
        if (handler instanceof Handler h) {
            return new App(kind, false, task -> h.call((Request) task), null, h::init, h::close);
        }
        if (handler instanceof AsyncHandler h) {
            return new App(kind, false, null, task -> h.call((Request) task), h::init, h::close);
        }
        if (handler instanceof HttpHandler h) {
            return new App(kind, true, task -> {
                h.handle((HttpExchange) task);
                return null;
            }, null, h::init, h::close);
        }
        AsyncHttpHandler h = (AsyncHttpHandler) handler;
        return new App(kind, true, null, task -> h.handle((HttpExchange) task), h::init, h::close);
    }
}
