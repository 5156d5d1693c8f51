package io.github.nffi.host;

import io.github.nffi.http.Headers;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/**
 * Heads and trailers of answers as heads.rs reads them: status and count, then two lengths for each header, then all
 * names and values.
 */
final class Heads {
    /** The status of trailers, which have none. */
    static final int TRAILERS = 0;

    private Heads() {
    }

    // By the one method that turns characters into the bytes of their numbers in place.
    @SuppressWarnings("deprecation")
    static byte[] encode(int status, Headers headers) {
        int count = headers.size();
        int length = 8 + 8 * count;
        for (int i = 0; i < count; i++) {
            length += headers.name(i).length() + headers.value(i).length();
        }
        byte[] encoded = new byte[length];
        ByteBuffer numbers = ByteBuffer.wrap(encoded).order(ByteOrder.nativeOrder());
        numbers.putInt(status).putInt(count);
        int at = 8 + 8 * count;
        for (int i = 0; i < count; i++) {
            String name = headers.name(i);
            String value = headers.value(i);
            numbers.putInt(name.length()).putInt(value.length());
            name.getBytes(0, name.length(), encoded, at);
            at += name.length();
            value.getBytes(0, value.length(), encoded, at);
            at += value.length();
        }
        return encoded;
    }
}
