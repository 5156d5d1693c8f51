import java.io.IOException;
import java.net.StandardProtocolFamily;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;

/**
 * The unix-socket peer in Java: one thread and a selector. java Echo.java SOCKET
 *
 * <p>A 4-byte length before each payload, both ways.
 */
public final class Echo {
    private static byte[] handle(byte[] request) {
        return request;
    }

    /** What has been read of a connection and not been answered. */
    private static final class Connection {
        private ByteBuffer in = ByteBuffer.allocateDirect(4096);

        /** Serves all that is there; false at the connection's end. */
        boolean serve(SocketChannel channel) throws IOException {
            int read = channel.read(in);
            in.flip();
            while (in.remaining() >= 4 && in.remaining() >= 4 + in.getInt(in.position())) {
                byte[] request = new byte[in.getInt()];
                in.get(request);
                answer(channel, handle(request));
            }
            int needed = in.remaining() >= 4 ? 4 + in.getInt(in.position()) : 4;
            if (needed > in.capacity()) {
                in = ByteBuffer.allocateDirect(needed + 4096).put(in);
            } else {
                in.compact();
            }
            return read >= 0;
        }

        private void answer(SocketChannel channel, byte[] answer) throws IOException {
            ByteBuffer out = ByteBuffer.allocate(4 + answer.length).putInt(answer.length).put(answer).flip();
            while (out.hasRemaining()) {
                channel.write(out);
            }
        }
    }

    public static void main(String[] arguments) throws IOException {
        Selector selector = Selector.open();
        ServerSocketChannel server = ServerSocketChannel.open(StandardProtocolFamily.UNIX);
        server.bind(UnixDomainSocketAddress.of(arguments[0]), 256);
        server.configureBlocking(false);
        server.register(selector, SelectionKey.OP_ACCEPT);
        for (;;) {
            selector.select(key -> {
                try {
                    if (key.isAcceptable()) {
                        SocketChannel channel = server.accept();
                        channel.configureBlocking(false);
                        channel.register(selector, SelectionKey.OP_READ, new Connection());
                    } else if (!((Connection) key.attachment()).serve((SocketChannel) key.channel())) {
                        key.channel().close();
                    }
                } catch (IOException e) {
                    key.cancel();
                }
            });
        }
    }
}
