package io.github.nffi.host;

import static org.junit.jupiter.api.Assertions.assertNotSame;
import static org.junit.jupiter.api.Assertions.assertSame;

import io.github.nffi.Config;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

class LoadersTest {
    private static Options options(String text, boolean fresh) {
        return new Options(text, "a.B", fresh, 0, "info", List.of(), new Config(text, Map.of()));
    }

    @Test
    void keptForTheSameConfiguration() throws StartException {
        Options options = options("kept", false);
        var first = Loaders.take(options);
        assertNotSame(first, Loaders.take(options), "two at a time have one each");
        Loaders.give(first, options);
        assertNotSame(first, Loaders.take(options("another", false)));
        assertSame(first, Loaders.take(options));
    }

    @Test
    void freshWithAQuestionMark() throws StartException {
        Options options = options("fresh", true);
        var first = Loaders.take(options);
        Loaders.give(first, options);
        assertNotSame(first, Loaders.take(options));
    }
}
