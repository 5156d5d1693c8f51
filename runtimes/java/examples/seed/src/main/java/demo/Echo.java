package demo;

import jnr.ffi.LibraryLoader;
import jnr.ffi.Pointer;
import jnr.ffi.byref.IntByReference;

/**
 * A runtime as lua-resty-ffi has them in Java: {@code ngx.load_ffi("ffi_java", "demo.Echo,init,prefix")} calls
 * {@link #init}, and each request is answered with the prefix and itself.
 */
public final class Echo {
    /** What nginx exports, by the names of that interface. */
    public interface Nginx {
        Pointer ngx_http_lua_ffi_task_poll(long queue);

        Pointer ngx_http_lua_ffi_get_req(Pointer task, IntByReference length);

        void ngx_http_lua_ffi_respond(Pointer task, int rc, Pointer answer, int length);

        Pointer malloc(long size);
    }

    /** How often this class was initialised: a fresh class loader begins anew. */
    private static int count;

    private Echo() {
    }

    public static synchronized int init(String config, long queue) {
        if (config.startsWith("fail ")) {
            return Integer.parseInt(config.substring("fail ".length()));
        }
        // The functions are nginx's own: they are in the process, not in a library.
        Nginx nginx = LibraryLoader.create(Nginx.class).load(LibraryLoader.DEFAULT_LIBRARY);
        byte[] prefix = config.replace("COUNT", Integer.toString(++count)).getBytes();
        Thread thread = new Thread(() -> serve(nginx, queue, prefix), "demo.Echo");
        thread.setDaemon(true);
        thread.start();
        return 0;
    }

    private static void serve(Nginx nginx, long queue, byte[] prefix) {
        IntByReference length = new IntByReference();
        for (;;) {
            Pointer task = nginx.ngx_http_lua_ffi_task_poll(queue);
            if (task == null) {
                return; // unloaded
            }
            Pointer request = nginx.ngx_http_lua_ffi_get_req(task, length);
            int size = request == null ? 0 : length.getValue();
            // malloc'd, since nginx frees it.
            Pointer answer = nginx.malloc(prefix.length + size + 1);
            answer.put(0, prefix, 0, prefix.length);
            if (size > 0) {
                request.transferTo(0, answer, prefix.length, size);
            }
            nginx.ngx_http_lua_ffi_respond(task, 0, answer, prefix.length + size);
        }
    }
}
