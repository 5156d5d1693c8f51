package io.github.nffi;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;

class ConfigTest {
    private final Config config = new Config("{}", Map.of("name", List.of(List.of("x")), "n", List.of(List.of("7")), "debug",
            List.of(List.of()), "route", List.of(List.of("/a"), List.of("/b")), "pair", List.of(List.of("a", "b"))));

    @Test
    void valuesInTheirShapes() {
        assertEquals("x", config.get("name"));
        assertNull(config.get("other"));
        assertEquals("y", config.get("other", "y"));
        assertEquals(7, config.number("n", 1, 0, 10));
        assertEquals(1, config.number("m", 1, 0, 10));
        assertTrue(config.flag("debug"));
        assertFalse(config.flag("verbose"));
        assertEquals(List.of("/a", "/b"), config.all("route"));
        assertEquals(List.of(List.of("a", "b")), config.occurrences("pair"));
    }

    @Test
    void wrongShapesAreNamed() {
        assertMessage("route: one value expected, got 2", () -> config.get("route"));
        assertMessage("pair: one value expected, got 2", () -> config.all("pair"));
        assertMessage("debug: one value expected, got 0", () -> config.get("debug"));
        assertMessage("name: takes no value", () -> config.flag("name"));
        assertMessage("name: a number from 0 to 9 expected, got \"x\"", () -> config.number("name", 1, 0, 9));
        assertMessage("n: a number from 0 to 6 expected, got \"7\"", () -> config.number("n", 1, 0, 6));
    }

    @Test
    void whatNobodyAskedForIsKnown() {
        config.get("name");
        config.all("route");
        assertEquals(Set.of("debug", "n", "pair"), config.unasked());
        config.options();
        assertEquals(Set.of(), config.unasked());
    }

    private static void assertMessage(String message, Runnable body) {
        assertEquals(message, assertThrows(IllegalArgumentException.class, body::run).getMessage());
    }
}
