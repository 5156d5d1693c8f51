package io.github.nffi.host;

import java.io.File;
import java.lang.reflect.InvocationTargetException;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** The loader of lua-resty-ffi: see seed.rs. */
final class Seed {
    private static final int FAILED = -1;

    private static URLClassLoader shared;

    private Seed() {
    }

    /**
     * Calls {@code static int method(String, long)}.
     *
     * @return what it returned, or -1, and on stderr why
     */
    static int start(byte[] className, boolean fresh, byte[] methodName, byte[] text, long queue) {
        String name = new String(className, StandardCharsets.UTF_8);
        String method = new String(methodName, StandardCharsets.UTF_8);
        try {
            ClassLoader loader = loader(fresh);
            Thread.currentThread().setContextClassLoader(loader);
            var init = Class.forName(name, true, loader).getMethod(method, String.class, long.class);
            return (Integer) init.invoke(null, new String(text, StandardCharsets.UTF_8), queue);
        } catch (ClassNotFoundException e) {
            System.err.println("ffi_java: no class " + name + " on CLASSPATH, which is " + System.getenv("CLASSPATH"));
        } catch (NoSuchMethodException e) {
            System.err.println("ffi_java: " + name + " has no public static int " + method + "(String, long)");
        } catch (InvocationTargetException e) {
            System.err.println("ffi_java: " + name + "." + method + ": " + Logs.trace(e.getCause()));
        } catch (Throwable e) {
            System.err.println("ffi_java: " + name + "." + method + ": " + Logs.trace(e));
        }
        return FAILED;
    }

    private static synchronized ClassLoader loader(boolean fresh) throws StartException {
        if (fresh) {
            return Loaders.fresh(classPath());
        }
        if (shared == null) {
            shared = Loaders.fresh(classPath());
        }
        return shared;
    }

    private static List<Path> classPath() {
        List<Path> classPath = new ArrayList<>();
        String variable = System.getenv("CLASSPATH");
        for (String part : (variable == null ? "" : variable).split(File.pathSeparator)) {
            if (part.endsWith(File.separator + "*")) {
                File[] jars = new File(part.substring(0, part.length() - 1)).listFiles((dir, name) -> name.endsWith(".jar"));
                for (File jar : jars == null ? new File[0] : jars) {
                    classPath.add(jar.toPath().toAbsolutePath());
                }
            } else if (!part.isEmpty()) {
                classPath.add(Path.of(part).toAbsolutePath());
            }
        }
        return classPath;
    }
}
