/*
 * hello.c: a small runtime, and a complete one: a thread that answers each request with a greeting.
 *
 *   cc -shared -fPIC -pthread -Iinclude -o target/libhello.so docs/examples/hello.c
 */
#include "nffi.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Not in globals: one library may be declared twice, and each runtime has a queue of its own. */
typedef struct {
    const nffi_host *host;
    nffi_queue queue;
} runtime;

static void greet(const runtime *rt, const nffi_event *ev)
{
    static const char hello[] = "hello, ";
    size_t front = strlen(hello), len = front + ev->len;
    char *answer = rt->host->alloc(len);

    if (answer == NULL) {
        rt->host->end(ev->task, 1); /* a status other than 0 is an error */
        return;
    }
    memcpy(answer, hello, front);
    memcpy(answer + front, ev->data, ev->len);  /* requests and answers are bytes, without a NUL */
    rt->host->reply(ev->task, 0, answer, len);  /* the host's from here on, which frees it */
}

static void *serve(void *arg)
{
    runtime *rt = arg;
    nffi_event events[64];

    for (;;) {
        size_t n = rt->host->poll(rt->queue, events, 64, -1);

        for (size_t i = 0; i < n; i++) {
            if (events[i].kind == NFFI_CALL) {
                greet(rt, &events[i]);
            } else if (events[i].kind == NFFI_STOP) {
                rt->host->stopped(rt->queue);
                free(rt);
                return NULL;
            }
        }
    }
}

int nffi_runtime_init_v1(const nffi_host *host, nffi_queue queue, const char *cfg, size_t len, char *err,
                         size_t err_cap)
{
    runtime *rt = malloc(sizeof(*rt));
    pthread_t thread;
    int rc;

    (void)cfg;
    (void)len;
    if (rt == NULL) {
        snprintf(err, err_cap, "no memory");
        return 1;
    }
    rt->host = host;
    rt->queue = queue;
    rc = pthread_create(&thread, NULL, serve, rt);
    if (rc != 0) {
        snprintf(err, err_cap, "cannot start a thread: %s", strerror(rc));
        free(rt);
        return 1;
    }
    pthread_detach(thread);
    return 0;
}
