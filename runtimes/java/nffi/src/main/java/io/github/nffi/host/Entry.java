package io.github.nffi.host;

import java.nio.charset.StandardCharsets;

/** Where libnffi_java.so comes in. */
final class Entry {
    private Entry() {
    }

    /**
     * Starts a runtime. Runs on: a start thread of the host's.
     *
     * @return null, or why it failed
     */
    static byte[] start(long table, long queue, byte[] options) {
        try {
            Service.start(new NativeHost(table, queue), Options.decode(options));
            return null;
        } catch (StartException e) {
            return String.valueOf(e.getMessage()).getBytes(StandardCharsets.UTF_8);
        } catch (Throwable e) {
            return ("cannot start: " + Logs.text(e)).getBytes(StandardCharsets.UTF_8);
        }
    }
}
