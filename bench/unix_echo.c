/*
 * unix_echo.c: the peer that nffi is compared with: an echo server on a unix
 * socket, as quick as such a server is written without tricks.
 *
 * One thread, epoll, frames of a 4-byte big-endian length and the payload. The
 * answer is written from the very buffer that the request was read into, so a
 * call costs the server one epoll_wait, one read and one write.
 *
 * Usage: unix_echo PATH [CPU]
 */
#define _GNU_SOURCE
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    HEADER = 4,
    MAX_PAYLOAD = 64 << 20,
    FIRST_ROOM = 128 << 10, /* holds the largest payload of the benchmark without growing */
    EVENTS = 128
};

typedef struct {
    int fd;
    char *buf;
    size_t room;
    size_t len;      /* bytes read and not yet answered                       */
    size_t sent;     /* of these, bytes already written back                  */
    int want_write;  /* the socket was full: EPOLLOUT is asked for            */
} conn;

static int epoll_fd;

static void die(const char *what)
{
    fprintf(stderr, "unix_echo: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void close_conn(conn *c)
{
    close(c->fd); /* leaves the epoll set with it */
    free(c->buf);
    free(c);
}

static size_t frame_len(const conn *c)
{
    const unsigned char *b = (const unsigned char *)c->buf;

    return HEADER + ((size_t)b[0] << 24 | (size_t)b[1] << 16 | (size_t)b[2] << 8 | b[3]);
}

static int watch(conn *c, int want_write)
{
    struct epoll_event ev = {.events = want_write ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = c};

    if (c->want_write == want_write)
        return 0;
    c->want_write = want_write;
    return epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &ev);
}

/* Writes back every frame that is whole. 0, or -1: the connection is to be closed. */
static int answer(conn *c)
{
    while (c->len >= HEADER) {
        size_t frame = frame_len(c);

        if (frame > HEADER + MAX_PAYLOAD)
            return -1;
        if (frame > c->room) {
            char *grown = realloc(c->buf, frame);

            if (grown == NULL)
                return -1;
            c->buf = grown;
            c->room = frame;
        }
        if (c->len < frame)
            break;

        while (c->sent < frame) {
            ssize_t n = write(c->fd, c->buf + c->sent, frame - c->sent);

            if (n < 0 && errno == EINTR)
                continue;
            if (n < 0 && errno == EAGAIN)
                return watch(c, 1);
            if (n < 0)
                return -1;
            c->sent += (size_t)n;
        }
        c->len -= frame;
        c->sent = 0;
        if (c->len > 0)
            memmove(c->buf, c->buf + frame, c->len);
    }
    return watch(c, 0);
}

static int on_readable(conn *c)
{
    ssize_t n;

    if (c->len == c->room) /* full, and its first frame not written yet: it waits for EPOLLOUT */
        return 0;
    n = read(c->fd, c->buf + c->len, c->room - c->len);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    if (n == 0)
        return -1;
    c->len += (size_t)n;
    return answer(c);
}

static void on_connect(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    struct epoll_event ev = {.events = EPOLLIN};
    int room = 1 << 20; /* a whole payload of 100 K in one write, both ways */
    conn *c;

    if (fd < 0)
        return;
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    c = calloc(1, sizeof *c);
    if (c == NULL || (c->buf = malloc(FIRST_ROOM)) == NULL)
        die("memory for a connection");
    c->fd = fd;
    c->room = FIRST_ROOM;
    ev.data.ptr = c;
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev) != 0)
        die("epoll_ctl");
}

int main(int argc, char **argv)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL}, events[EVENTS];
    int listener;

    if (argc < 2 || strlen(argv[1]) >= sizeof addr.sun_path) {
        fprintf(stderr, "usage: unix_echo PATH [CPU] (PATH shorter than %zu bytes)\n", sizeof addr.sun_path);
        return 2;
    }
    if (argc > 2) {
        cpu_set_t set;

        CPU_ZERO(&set);
        CPU_SET(atoi(argv[2]), &set);
        if (sched_setaffinity(0, sizeof set, &set) != 0)
            die("sched_setaffinity");
    }
    signal(SIGPIPE, SIG_IGN);
    memcpy(addr.sun_path, argv[1], strlen(argv[1]));
    unlink(argv[1]);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&addr, sizeof addr) != 0 || listen(listener, 1024) != 0)
        die(argv[1]);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &ev) != 0)
        die("epoll");

    for (;;) {
        int n = epoll_wait(epoll_fd, events, EVENTS, -1);

        for (int i = 0; i < n; i++) {
            conn *c = events[i].data.ptr;

            if (c == NULL)
                on_connect(listener);
            else if ((events[i].events & EPOLLOUT ? answer(c) : 0) != 0 || on_readable(c) != 0)
                close_conn(c);
        }
    }
}
