package io.github.nffi.host;

import io.github.nffi.Config;
import java.io.ByteArrayInputStream;
import java.io.DataInputStream;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** The options as config.rs has read and checked them. {@code text} is the configuration as it was given. */
record Options(String text, String handler, boolean fresh, int threads, String logLevel, List<Path> classPath, Config own) {
    /** {@link #threads} where each call gets a virtual thread. */
    static final int VIRTUAL = -1;

    static Options decode(byte[] encoded) throws IOException {
        DataInputStream in = new DataInputStream(new ByteArrayInputStream(encoded));
        String json = text(in);
        String handler = text(in);
        boolean fresh = in.readInt() == 1;
        int threads = in.readInt();
        String logLevel = text(in);
        List<Path> classPath = new ArrayList<>();
        for (int left = in.readInt(); left > 0; left--) {
            classPath.add(Path.of(text(in)));
        }
        Map<String, List<List<String>>> own = new LinkedHashMap<>();
        for (int left = in.readInt(); left > 0; left--) {
            String name = text(in);
            List<String> values = new ArrayList<>();
            for (int count = in.readInt(); count > 0; count--) {
                values.add(text(in));
            }
            own.computeIfAbsent(name, key -> new ArrayList<>()).add(List.copyOf(values));
        }
        return new Options(json, handler, fresh, threads, logLevel, List.copyOf(classPath), new Config(json, own));
    }

    private static String text(DataInputStream in) throws IOException {
        return new String(in.readNBytes(in.readInt()), StandardCharsets.UTF_8);
    }
}
