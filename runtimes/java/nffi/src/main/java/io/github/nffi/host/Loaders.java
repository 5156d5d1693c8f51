package io.github.nffi.host;

import java.io.IOException;
import java.net.MalformedURLException;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * A class loader for each runtime. One that is loaded again with the same configuration gets the loader that it
 * had, and with it the classes and their static state; with {@code ?} it gets a fresh one.
 */
final class Loaders {
    /** Those of runtimes that have stopped, by configuration. */
    private static final Map<String, URLClassLoader> IDLE = new HashMap<>();

    private Loaders() {
    }

    static URLClassLoader take(Options options) throws StartException {
        if (!options.fresh()) {
            synchronized (IDLE) {
                URLClassLoader kept = IDLE.remove(options.text());
                if (kept != null) {
                    return kept;
                }
            }
        }
        return fresh(options.classPath());
    }

    static void give(URLClassLoader loader, Options options) {
        if (!options.fresh()) {
            synchronized (IDLE) {
                if (IDLE.putIfAbsent(options.text(), loader) == null) {
                    return;
                }
            }
        }
        try {
            loader.close();
        } catch (IOException e) {
            // A jar that cannot be closed is one that stays open.
        }
    }

    static URLClassLoader fresh(List<Path> classPath) throws StartException {
        URL[] urls = new URL[classPath.size()];
        for (int i = 0; i < urls.length; i++) {
            try {
                // A folder's ends with a slash, by which the loader knows it.
                urls[i] = classPath.get(i).toUri().toURL();
            } catch (MalformedURLException e) {
                throw new StartException("class_path " + classPath.get(i) + ": " + e.getMessage());
            }
        }
        return new URLClassLoader(urls, Loaders.class.getClassLoader());
    }
}
