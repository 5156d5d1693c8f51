package io.github.nffi.http;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import org.junit.jupiter.api.Test;

class HeadersTest {
    @Test
    void orderDuplicatesAndCase() {
        Headers headers = Headers.of("B", "1", "a", "2", "b", "3");
        assertEquals("1", headers.get("b"));
        assertEquals(List.of("1", "3"), headers.all("B"));
        assertTrue(headers.has("A"));
        assertNull(headers.get("c"));
        assertEquals("B: 1, a: 2, b: 3", headers.toString());
        assertEquals("a: 2, b: 4", headers.set("b", "4").toString());
        assertEquals("b: 4, A: 5", headers.remove("A").add("A", "5").toString());
        assertEquals(2, headers.size());
        headers.forEach(header -> assertEquals(header.getValue(), headers.get(header.getKey())));
    }

    @Test
    void whatWouldBreakAnAnswerIsRefused() {
        Headers headers = new Headers();
        for (String name : List.of("", "a b", "a:", "\u00e4", "a\n")) {
            assertThrows(IllegalArgumentException.class, () -> headers.add(name, ""), name);
        }
        for (String value : List.of("a\r\nb: c", "\n", "\0", "\u20ac")) {
            assertThrows(IllegalArgumentException.class, () -> headers.set("a", value), value);
        }
        assertThrows(IllegalArgumentException.class, () -> Headers.of("a"));
        assertEquals(0, headers.size());
        assertEquals("\u00e4\t", headers.add("a", "\u00e4\t").get("a"));
    }

    @Test
    void aClientsCannotBeChanged() {
        Headers headers = new Headers(List.of("odd name"), List.of("x"));
        assertEquals("x", headers.get("Odd Name"));
        assertThrows(IllegalStateException.class, () -> headers.add("a", "b"));
        assertThrows(IllegalStateException.class, () -> headers.set("a", "b"));
        assertThrows(IllegalStateException.class, () -> headers.remove("odd name"));
    }
}
