package io.github.nffi.examples;

import com.google.gson.Gson;
import io.github.nffi.Config;
import io.github.nffi.Handler;
import io.github.nffi.NffiException;
import io.github.nffi.Request;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.apache.lucene.analysis.Analyzer;
import org.apache.lucene.analysis.standard.StandardAnalyzer;
import org.apache.lucene.document.Document;
import org.apache.lucene.document.Field;
import org.apache.lucene.document.StoredField;
import org.apache.lucene.document.TextField;
import org.apache.lucene.index.DirectoryReader;
import org.apache.lucene.index.IndexWriter;
import org.apache.lucene.index.IndexWriterConfig;
import org.apache.lucene.queryparser.classic.ParseException;
import org.apache.lucene.queryparser.classic.QueryParser;
import org.apache.lucene.search.IndexSearcher;
import org.apache.lucene.search.Query;
import org.apache.lucene.search.TopDocs;
import org.apache.lucene.search.uhighlight.DefaultPassageFormatter;
import org.apache.lucene.search.uhighlight.UnifiedHighlighter;
import org.apache.lucene.search.uhighlight.WholeBreakIterator;
import org.apache.lucene.store.ByteBuffersDirectory;

/**
 * Full-text search over the paragraphs of the texts in a folder, by Lucene. The index is made once, in memory.
 *
 * <p>A request is a query in Lucene's syntax, an answer JSON. Option {@code dir}: the folder.
 */
public final class Search implements Handler {
    private static final int MOST = 5;
    /** Around a match in what the highlighter returns; characters that no text has. */
    private static final String BEGIN = "\u0001";
    private static final String END = "\u0002";

    private final Analyzer analyzer = new StandardAnalyzer();
    private final Gson gson = new Gson();
    private IndexSearcher searcher;

    private record Piece(String text, boolean match) {}

    private record Hit(String file, List<Piece> text) {}

    private record Answer(long total, int paragraphs, List<Hit> hits) {}

    @Override
    public void init(Config config) throws IOException {
        Path dir = Path.of(config.get("dir", "/usr/share/common-licenses"));
        ByteBuffersDirectory index = new ByteBuffersDirectory();
        try (IndexWriter writer = new IndexWriter(index, new IndexWriterConfig(analyzer));
                Stream<Path> files = Files.list(dir)) {
            // GPL and its like are links to their newest versions.
            for (Path file : files.filter(f -> Files.isRegularFile(f) && !Files.isSymbolicLink(f)).sorted().toList()) {
                for (String paragraph : Files.readString(file, StandardCharsets.ISO_8859_1).split("\\R\\s*\\R")) {
                    writer.addDocument(document(file, paragraph));
                }
            }
        }
        searcher = new IndexSearcher(DirectoryReader.open(index));
    }

    private static Document document(Path file, String paragraph) {
        Document document = new Document();
        document.add(new StoredField("file", file.getFileName().toString()));
        document.add(new TextField("text", paragraph.strip().replaceAll("\\s+", " "), Field.Store.YES));
        return document;
    }

    @Override
    public byte[] call(Request request) throws IOException, NffiException {
        String text = request.text().strip();
        if (text.isEmpty()) {
            throw new NffiException(400, "what should I look for?");
        }
        Query query;
        try {
            query = new QueryParser("text", analyzer).parse(text);
        } catch (ParseException e) {
            throw new NffiException(400, "this is no query of Lucene's: " + text);
        }
        TopDocs found = searcher.search(query, MOST);
        UnifiedHighlighter highlighter = UnifiedHighlighter.builder(searcher, analyzer)
                .withBreakIterator(WholeBreakIterator::new)
                .withFormatter(new DefaultPassageFormatter(BEGIN, END, "", false))
                .build();
        String[] marked = highlighter.highlight("text", query, found);
        List<Hit> hits = new ArrayList<>();
        for (int i = 0; i < found.scoreDocs.length; i++) {
            String file = searcher.storedFields().document(found.scoreDocs[i].doc).get("file");
            hits.add(new Hit(file, pieces(marked[i])));
        }
        Answer answer = new Answer(searcher.count(query), searcher.getIndexReader().numDocs(), hits);
        return gson.toJson(answer).getBytes(StandardCharsets.UTF_8);
    }

    private static List<Piece> pieces(String marked) {
        List<Piece> pieces = new ArrayList<>();
        for (String part : marked.split("(?=" + BEGIN + ")|(?<=" + END + ")")) {
            boolean match = part.startsWith(BEGIN);
            pieces.add(new Piece(match ? part.substring(1, part.length() - 1) : part, match));
        }
        return pieces;
    }

    @Override
    public void close() throws IOException {
        searcher.getIndexReader().close();
    }
}
