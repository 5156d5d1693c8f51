package io.github.nffi;

import java.util.ArrayList;
import java.util.Collections;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;

/** The options of a handler: those in the nffi_runtime block that neither nffi nor the Java host knows. */
public final class Config {
    private final String json;
    private final Map<String, List<List<String>>> options;
    private final Set<String> asked = new HashSet<>();

    /**
     * For tests of handlers, and for the host.
     *
     * @param json the configuration as it was given
     * @param options each option with the values of each of its occurrences
     */
    public Config(String json, Map<String, List<List<String>>> options) {
        this.json = json;
        Map<String, List<List<String>>> copy = new LinkedHashMap<>();
        options.forEach((name, occurrences) -> copy.put(name, List.copyOf(occurrences)));
        this.options = Collections.unmodifiableMap(copy);
    }

    /** The value of an option that occurs once, or null where it does not occur. */
    public String get(String name) {
        return get(name, null);
    }

    /**
     * The value of an option that occurs once.
     *
     * @param otherwise the result where it does not occur
     * @throws IllegalArgumentException where it occurs more often, or has not one value
     */
    public String get(String name, String otherwise) {
        List<String> values = all(name);
        if (values.size() > 1) {
            throw new IllegalArgumentException(name + ": one value expected, got " + values.size());
        }
        return values.isEmpty() ? otherwise : values.get(0);
    }

    /**
     * A whole number.
     *
     * @throws IllegalArgumentException where it is none, or out of the range
     */
    public long number(String name, long otherwise, long least, long most) {
        String value = get(name);
        if (value == null) {
            return otherwise;
        }
        try {
            long number = Long.parseLong(value);
            if (number >= least && number <= most) {
                return number;
            }
        } catch (NumberFormatException e) {
            // said below
        }
        throw new IllegalArgumentException(
                name + ": a number from " + least + " to " + most + " expected, got \"" + value + "\"");
    }

    /**
     * An option that stands for itself, without a value.
     *
     * @throws IllegalArgumentException where it has one
     */
    public boolean flag(String name) {
        List<List<String>> occurrences = occurrences(name);
        if (occurrences.stream().anyMatch(values -> !values.isEmpty())) {
            throw new IllegalArgumentException(name + ": takes no value");
        }
        return !occurrences.isEmpty();
    }

    /**
     * The values of an option that may occur several times.
     *
     * @throws IllegalArgumentException where an occurrence has not one value
     */
    public List<String> all(String name) {
        List<String> values = new ArrayList<>();
        for (List<String> occurrence : occurrences(name)) {
            if (occurrence.size() != 1) {
                throw new IllegalArgumentException(name + ": one value expected, got " + occurrence.size());
            }
            values.add(occurrence.get(0));
        }
        return values;
    }

    /** All values of each occurrence, as {@code header x 1;} has two. */
    public List<List<String>> occurrences(String name) {
        asked.add(name);
        return options.getOrDefault(name, List.of());
    }

    /** Every option. Whoever asks for all of them judges them himself. */
    public Map<String, List<List<String>>> options() {
        asked.addAll(options.keySet());
        return options;
    }

    /** The configuration as it was given, the options of nffi's Java host among it. Counts as {@link #options}. */
    public String json() {
        asked.addAll(options.keySet());
        return json;
    }

    /** The options that were never asked for, in alphabetical order. */
    public Set<String> unasked() {
        Set<String> left = new TreeSet<>(options.keySet());
        left.removeAll(asked);
        return left;
    }
}
