/* Load for a WebSocket echo: each connection sends one text message of 16 bytes and waits for it to come back.
 *
 *     ws_load PORT PATH CONNECTIONS SECONDS
 *
 * Says what wrk says: requests (messages that came back), their rate, and the latency's 50th and 99th percentile. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PAYLOAD = 16, SENT = 2 + 4 + PAYLOAD, BACK = 2 + PAYLOAD, BUCKETS = 1000000 };

struct client {
    int fd;
    size_t got;
    uint64_t since; /* us */
    unsigned char in[BACK];
};

static uint32_t histogram[BUCKETS + 1]; /* by us; the last: longer */

static uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void die(const char *what)
{
    fprintf(stderr, "ws_load: %s: %s\n", what, errno ? strerror(errno) : "unexpected answer");
    exit(1);
}

/* A connected client whose handshake is done; blocking until here. */
static void open_client(struct client *c, int port, const char *path)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char text[4096];
    int one = 1, len;
    size_t got = 0;

    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(c->fd, (struct sockaddr *)&to, sizeof to) != 0) die("connect");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    len = snprintf(text, sizeof text,
                   "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                   "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
                   path);
    if (write(c->fd, text, (size_t)len) != len) die("write");
    do {
        ssize_t n = read(c->fd, text + got, 1); /* byte by byte: what follows the head is not ours to take */
        if (n <= 0 || ++got == sizeof text) die("handshake");
    } while (got < 4 || memcmp(text + got - 4, "\r\n\r\n", 4) != 0);
    errno = 0;
    if (strncmp(text, "HTTP/1.1 101", 12) != 0) die("handshake");
}

static void send_one(struct client *c)
{
    /* FIN and text; masked with zeros, which is a mask. */
    static const unsigned char frame[SENT] = {0x81, 0x80 | PAYLOAD, 0, 0, 0, 0, 'h', 'e', 'l', 'l', 'o', ' ', 'w',
                                              'e', 'b', 's', 'o', 'c', 'k', 'e', 't', '!'};
    c->got = 0;
    c->since = now_us();
    if (write(c->fd, frame, SENT) != SENT) die("write");
}

static uint64_t percentile(uint64_t total, double share)
{
    uint64_t wanted = (uint64_t)((double)total * share), seen = 0;
    for (uint64_t us = 0; us <= BUCKETS; us++)
        if ((seen += histogram[us]) > wanted) return us;
    return BUCKETS;
}

int main(int argc, char **argv)
{
    if (argc != 5) {
        fprintf(stderr, "usage: ws_load PORT PATH CONNECTIONS SECONDS\n");
        return 2;
    }
    int n = atoi(argv[3]), ep = epoll_create1(0);
    double seconds = atof(argv[4]);
    struct client *clients = calloc((size_t)n, sizeof *clients);
    struct epoll_event events[64];
    uint64_t done = 0;

    for (int i = 0; i < n; i++) {
        open_client(&clients[i], atoi(argv[1]), argv[2]);
        events[0] = (struct epoll_event){.events = EPOLLIN, .data.ptr = &clients[i]};
        epoll_ctl(ep, EPOLL_CTL_ADD, clients[i].fd, &events[0]);
    }
    for (int i = 0; i < n; i++) send_one(&clients[i]);
    uint64_t start = now_us(), end = start + (uint64_t)(seconds * 1e6), now = start;
    while (now < end) {
        int ready = epoll_wait(ep, events, 64, 1000);
        if (ready == 0) die("nothing came back for a second");
        now = now_us();
        for (int i = 0; i < ready; i++) {
            struct client *c = events[i].data.ptr;
            ssize_t got = read(c->fd, c->in + c->got, BACK - c->got);
            if (got <= 0) die("read");
            if ((c->got += (size_t)got) < BACK) continue;
            errno = 0;
            if (c->in[0] != 0x81 || c->in[1] != PAYLOAD || memcmp(c->in + 2, "hello websocket!", PAYLOAD) != 0) die("echo");
            uint64_t us = now - c->since;
            histogram[us < BUCKETS ? us : BUCKETS]++;
            done++;
            send_one(c);
        }
    }
    printf("  Latency Distribution\n     50%% %8lluus\n     99%% %8lluus\n", (unsigned long long)percentile(done, 0.5),
           (unsigned long long)percentile(done, 0.99));
    printf("  %llu requests in %.2fs\nRequests/sec: %.2f\n", (unsigned long long)done, (double)(now - start) / 1e6,
           (double)done / ((double)(now - start) / 1e6));
    return 0;
}
