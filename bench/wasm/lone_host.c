/*
 * lone_host.c: a host with one request after the other. It measures what a runtime's thread does for a request: from
 * the poll() that hands it out to the poll() that comes back for the next. No other thread has a part in it.
 *
 *   lone_host LIBRARY CONFIG call|http CALLS
 *
 * The first call is told by itself, a tenth of the others are for warming up. JSON on standard output; the first
 * answer, and what the runtime logs, on standard error.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "nffi.h"

#define STR(text) { text, sizeof text - 1 }

static const char message[] = "{\"name\":\"World\"}";

static const nffi_header headers[] = {
    {STR("Host"), STR("127.0.0.1:8080")},
    {STR("User-Agent"), STR("curl/7.88.1")},
    {STR("Accept"), STR("*/*")},
};

static const nffi_http_request request = {
    .size = sizeof request,
    .version = 1001,
    .client_port = 40000,
    .server_port = 8080,
    .method = STR("GET"),
    .raw_path = STR("/hello"),
    .path = STR("/hello"),
    .query = STR("x=1"),
    .scheme = STR("http"),
    .client_addr = STR("127.0.0.1"),
    .server_addr = STR("127.0.0.1"),
    .server_name = STR("127.0.0.1"),
    .headers = headers,
    .headers_len = sizeof headers / sizeof *headers,
    .body_fd = -1,
};

/* All that follows is the runtime's one thread's, until it has stopped. */
static int is_http, doorbell, came_too_early;
static size_t calls, handed_out, under_way, answer_len;
static double *took, begun;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t over = PTHREAD_COND_INITIALIZER;
static int has_stopped;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void fail(const char *what, const char *detail, size_t len)
{
    fprintf(stderr, "lone_host: %s%.*s\n", what, (int)len, detail);
    exit(1);
}

static void ring(void)
{
    if (eventfd_write(doorbell, 1))
        fail("the eventfd is full", "", 0);
}

static size_t poll_queue(nffi_queue queue, nffi_event *events, size_t max, int timeout_ms)
{
    double came = now();
    eventfd_t rung;

    (void)queue;
    (void)timeout_ms;
    if (max == 0 || under_way) { /* a function that has let go of the thread: it goes on */
        came_too_early = 1;
        return 0;
    }
    came_too_early = 0;
    if (handed_out > 0)
        took[handed_out - 1] = came - begun;
    if (eventfd_read(doorbell, &rung) == 0 || handed_out == 0)
        ring();
    *events = (nffi_event){.kind = NFFI_STOP};
    if (handed_out < calls) {
        *events = (nffi_event){
            .kind = is_http ? NFFI_HTTP : NFFI_CALL,
            .task = ++handed_out,
            .data = is_http ? (const char *)&request : message,
            .len = is_http ? sizeof request : sizeof message - 1,
        };
        under_way = handed_out;
        begun = now();
    }
    return 1;
}

static int poll_fd(nffi_queue queue)
{
    (void)queue;
    return doorbell;
}

static int ended(nffi_task task, int status, const char *data, size_t len)
{
    if (task != under_way)
        fail("a task was ended twice", "", 0);
    if (status != 0)
        fail("the function failed: ", data, len);
    if (task == 1)
        fprintf(stderr, "%.*s\n", (int)len, data ? data : "");
    answer_len += len;
    under_way = 0;
    if (came_too_early)
        ring();
    return NFFI_OK;
}

static int reply(nffi_task task, int status, char *data, size_t len)
{
    int rc = ended(task, status, data, len);
    free(data);
    return rc;
}

static int end(nffi_task task, int status)
{
    return ended(task, status, "", 0);
}

static int write_piece(nffi_task task, char *data, size_t len)
{
    if (task == 1)
        fprintf(stderr, "%.*s", (int)len, data ? data : "");
    answer_len += len;
    free(data);
    return NFFI_OK;
}

static int read_piece(nffi_task task, char **data, size_t *len)
{
    (void)task, (void)data, (void)len;
    return NFFI_EOF;
}

static size_t reply_many(nffi_answer *answers, size_t n)
{
    for (size_t i = 0; i < n; i++)
        answers[i].result = reply(answers[i].task, answers[i].status, answers[i].data, answers[i].len);
    return n;
}

static int cancelled(nffi_task task)
{
    (void)task;
    return 0;
}

static void log_line(nffi_queue queue, nffi_task task, int level, const char *text, size_t len)
{
    (void)queue, (void)task, (void)level;
    fprintf(stderr, "%.*s\n", (int)len, text);
}

static void stopped(nffi_queue queue)
{
    (void)queue;
    pthread_mutex_lock(&lock);
    has_stopped = 1;
    pthread_cond_signal(&over);
    pthread_mutex_unlock(&lock);
}

static const nffi_http_request *http(nffi_task task)
{
    (void)task;
    return is_http ? &request : NULL;
}

static int http_head(nffi_task task, int status, const nffi_header *fields, size_t n)
{
    (void)task, (void)fields, (void)n;
    if (status != 200)
        fail("the function's status is not 200", "", 0);
    return NFFI_OK;
}

static int http_file(nffi_task task, int fd, int64_t offset, int64_t length)
{
    (void)task, (void)offset, (void)length;
    close(fd);
    return NFFI_BAD;
}

static int http_trailers(nffi_task task, const nffi_header *fields, size_t n)
{
    (void)task, (void)fields, (void)n;
    return NFFI_OK;
}

static const nffi_host host = {
    .abi = NFFI_ABI,
    .size = sizeof host,
    .poll = poll_queue,
    .poll_fd = poll_fd,
    .reply = reply,
    .write = write_piece,
    .read = read_piece,
    .reply_many = reply_many,
    .end = end,
    .cancelled = cancelled,
    .log = log_line,
    .stopped = stopped,
    .alloc = malloc,
    .release = free,
    .http = http,
    .http_head = http_head,
    .http_file = http_file,
    .http_trailers = http_trailers,
};

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    char error[1024] = "";
    int (*init)(const nffi_host *, nffi_queue, const char *, size_t, char *, size_t);

    if (argc != 5)
        fail("usage: lone_host LIBRARY CONFIG call|http CALLS", "", 0);
    is_http = strcmp(argv[3], "http") == 0;
    calls = strtoul(argv[4], NULL, 10);
    took = calloc(calls + 1, sizeof *took);
    doorbell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (calls == 0 || took == NULL || doorbell < 0)
        fail("no memory, no descriptor, or no calls", "", 0);
    ring();

    void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        fail(dlerror(), "", 0);
    *(void **)&init = dlsym(library, NFFI_INIT_SYMBOL);
    if (init == NULL)
        fail(dlerror(), "", 0);
    double start = now();
    if (init(&host, 1, argv[2], strlen(argv[2]), error, sizeof error))
        fail(error, "", 0);
    double started = now();

    pthread_mutex_lock(&lock);
    while (!has_stopped)
        pthread_cond_wait(&over, &lock);
    pthread_mutex_unlock(&lock);

    double first = took[0];
    size_t warm = calls / 10, n = calls - warm;
    double *counted = took + warm;
    qsort(counted, n, sizeof *counted, by_size);
    printf("{\"start_us\": %.1f, \"first_us\": %.2f, \"p50_us\": %.2f, \"p99_us\": %.2f, \"most_us\": %.2f, \"calls\": %zu, "
           "\"bytes\": %zu}\n",
           started - start, first, counted[n / 2], counted[n * 99 / 100], counted[n - 1], n, answer_len);
    return 0;
}
