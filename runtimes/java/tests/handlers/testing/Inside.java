package testing;

import io.github.nffi.Handler;
import io.github.nffi.Request;
import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.nio.charset.StandardCharsets;

/** Calls what is between Java and the library, as no handler should: for what cannot be brought about otherwise. */
public final class Inside implements Handler {
    /** The request names a task that is none: what read() puts in the place of an AGAIN. */
    @Override
    public byte[] call(Request request) throws Exception {
        Class<?> natives = Class.forName("io.github.nffi.host.Native");
        Method read = natives.getDeclaredMethod("read", long.class, long.class, int[].class);
        read.setAccessible(true);
        int[] result = {2};
        Object piece = read.invoke(null, table(request), Long.parseLong(request.text()), result);
        return (result[0] + " " + piece).getBytes(StandardCharsets.UTF_8);
    }

    /** The host's table: request.service.host.host.table. */
    private static long table(Request request) throws Exception {
        Object at = request;
        for (String name : new String[] {"service", "host", "host", "table"}) {
            // The request's is its superclass's.
            Class<?> type = at == request ? at.getClass().getSuperclass() : at.getClass();
            Field field = type.getDeclaredField(name);
            field.setAccessible(true);
            at = field.get(at);
        }
        return (Long) at;
    }
}
