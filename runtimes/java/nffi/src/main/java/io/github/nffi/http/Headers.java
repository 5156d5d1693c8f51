package io.github.nffi.http;

import java.util.ArrayList;
import java.util.Iterator;
import java.util.List;
import java.util.Map;

/**
 * Names and values in their order, a name as often as it comes. Names are found whatever their case. A value's
 * characters are bytes, up to U+00FF. Those of a request cannot be changed;
 * those of an answer are for one thread at a time.
 */
public final class Headers implements Iterable<Map.Entry<String, String>> {
    private final List<String> names;
    private final List<String> values;
    private final boolean fixed;

    /** None yet. */
    public Headers() {
        names = new ArrayList<>();
        values = new ArrayList<>();
        fixed = false;
    }

    /** For the host, and for tests of handlers: what a client sent, which cannot be changed, and may be anything. */
    public Headers(List<String> names, List<String> values) {
        this.names = List.copyOf(names);
        this.values = List.copyOf(values);
        fixed = true;
    }

    /** Names and values in turn. */
    public static Headers of(String... namesAndValues) {
        if (namesAndValues.length % 2 != 0) {
            throw new IllegalArgumentException("\"" + namesAndValues[namesAndValues.length - 1] + "\" has no value");
        }
        Headers headers = new Headers();
        for (int i = 0; i < namesAndValues.length; i += 2) {
            headers.add(namesAndValues[i], namesAndValues[i + 1]);
        }
        return headers;
    }

    /** The first value, or null. */
    public String get(String name) {
        int at = find(name, 0);
        return at < 0 ? null : values.get(at);
    }

    /** All values, in their order. */
    public List<String> all(String name) {
        List<String> all = new ArrayList<>();
        for (int at = find(name, 0); at >= 0; at = find(name, at + 1)) {
            all.add(values.get(at));
        }
        return all;
    }

    public boolean has(String name) {
        return find(name, 0) >= 0;
    }

    public int size() {
        return names.size();
    }

    public String name(int index) {
        return names.get(index);
    }

    public String value(int index) {
        return values.get(index);
    }

    /**
     * One more, whether there is one of that name or not.
     *
     * @throws IllegalArgumentException where the name is no token, or the value has CR, LF, NUL or a character beyond
     *         U+00FF
     */
    public Headers add(String name, String value) {
        mayChange();
        check(name, value);
        names.add(name);
        values.add(value);
        return this;
    }

    /** In the place of all of that name. Throws as {@link #add} does. */
    public Headers set(String name, String value) {
        mayChange();
        check(name, value);
        remove(name);
        names.add(name);
        values.add(value);
        return this;
    }

    public Headers remove(String name) {
        mayChange();
        for (int at = find(name, 0); at >= 0; at = find(name, at)) {
            names.remove(at);
            values.remove(at);
        }
        return this;
    }

    @Override
    public Iterator<Map.Entry<String, String>> iterator() {
        List<Map.Entry<String, String>> all = new ArrayList<>(size());
        for (int i = 0; i < size(); i++) {
            all.add(Map.entry(name(i), value(i)));
        }
        return all.iterator();
    }

    @Override
    public String toString() {
        StringBuilder text = new StringBuilder();
        for (int i = 0; i < size(); i++) {
            text.append(i == 0 ? "" : ", ").append(name(i)).append(": ").append(value(i));
        }
        return text.toString();
    }

    private int find(String name, int from) {
        for (int i = from; i < names.size(); i++) {
            if (names.get(i).equalsIgnoreCase(name)) {
                return i;
            }
        }
        return -1;
    }

    private void mayChange() {
        if (fixed) {
            throw new IllegalStateException("these headers cannot be changed");
        }
    }

    private static void check(String name, String value) {
        boolean token = !name.isEmpty();
        for (int i = 0; i < name.length() && token; i++) {
            token = isToken(name.charAt(i));
        }
        if (!token) {
            throw new IllegalArgumentException("\"" + name + "\" is no name of a header");
        }
        for (int i = 0; i < value.length(); i++) {
            char c = value.charAt(i);
            if (c == '\r' || c == '\n' || c == 0 || c > 0xff) {
                throw new IllegalArgumentException(
                        name + ": a header's value cannot have U+%04X in it".formatted((int) c));
            }
        }
    }

    /** RFC 9110, section 5.6.2. */
    private static boolean isToken(char c) {
        return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || "!#$%&'*+-.^_`|~".indexOf(c) >= 0;
    }
}
