/*
 * echo_runtime.c: the runtime that the benchmark calls: one thread that polls
 * in batches and answers each call with a copy of its request.
 *
 * Three requests are commands:
 *   "park..."    is kept and not answered: a call in flight
 *   "parked?"    answers how many are kept
 *   "release"    answers all that are kept, then itself
 *
 * Configuration (a plain string): "", or "cpu N" to pin the thread to CPU N.
 */
#define _GNU_SOURCE
#include "nffi.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 128, PARKED_MAX = 1 << 18 };

typedef struct {
    const nffi_host *host;
    nffi_queue queue;
    size_t parked;
    nffi_task tasks[PARKED_MAX];
} runtime;

static int is(const nffi_event *ev, const char *word)
{
    size_t len = strlen(word);

    return ev->len >= len && memcmp(ev->data, word, len) == 0;
}

static void answer(const runtime *rt, nffi_task task, const char *data, size_t len)
{
    char *copy = rt->host->alloc(len);

    if (copy == NULL && len > 0) {
        rt->host->end(task, 1);
        return;
    }
    if (len > 0)
        memcpy(copy, data, len);
    rt->host->reply(task, 0, copy, len);
}

static void release(runtime *rt)
{
    for (size_t i = 0; i < rt->parked; i++)
        rt->host->reply(rt->tasks[i], 0, NULL, 0);
    rt->parked = 0;
}

static void forget(runtime *rt, nffi_task task)
{
    for (size_t i = 0; i < rt->parked; i++) {
        if (rt->tasks[i] == task) {
            rt->tasks[i] = rt->tasks[--rt->parked];
            rt->host->end(task, 0);
            return;
        }
    }
}

static void on_call(runtime *rt, const nffi_event *ev)
{
    if (ev->len >= 4 && ev->data[0] == 'p' && is(ev, "park")) {
        if (is(ev, "parked?")) {
            char count[24];
            int len = snprintf(count, sizeof count, "%zu", rt->parked);

            answer(rt, ev->task, count, (size_t)len);
            return;
        }
        if (rt->parked < PARKED_MAX) {
            rt->tasks[rt->parked++] = ev->task;
            return;
        }
    } else if (ev->len == 7 && is(ev, "release")) {
        release(rt);
    }
    answer(rt, ev->task, ev->data, ev->len);
}

static void *loop(void *arg)
{
    runtime *rt = arg;
    nffi_event events[BATCH];

    for (;;) {
        size_t n = rt->host->poll(rt->queue, events, BATCH, -1);

        for (size_t i = 0; i < n; i++) {
            switch (events[i].kind) {
            case NFFI_CALL:
                on_call(rt, &events[i]);
                break;
            case NFFI_CANCEL:
                forget(rt, events[i].task);
                break;
            case NFFI_STOP:
                release(rt);
                rt->host->stopped(rt->queue);
                free(rt);
                return NULL;
            default:
                break;
            }
        }
    }
}

/* Starts the thread, on the CPU that the configuration names. 0, or an error number. */
static int start(runtime *rt, const char *cfg)
{
    pthread_attr_t attr;
    pthread_t thread;
    int cpu, rc;

    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    if (sscanf(cfg, "cpu %d", &cpu) == 1) {
        cpu_set_t set;

        CPU_ZERO(&set);
        CPU_SET((size_t)cpu, &set); /* out of range sets nothing, and pthread_create refuses that */
        pthread_attr_setaffinity_np(&attr, sizeof set, &set);
    }
    rc = pthread_create(&thread, &attr, loop, rt);
    pthread_attr_destroy(&attr);
    return rc;
}

int nffi_runtime_init_v1(const nffi_host *host, nffi_queue queue, const char *cfg, size_t len, char *err,
                         size_t err_cap)
{
    runtime *rt = malloc(sizeof *rt);
    int rc;

    (void)len;
    if (rt == NULL) {
        snprintf(err, err_cap, "no memory for the table of parked calls");
        return 1;
    }
    /* Touched now, so that the table counts as the process's memory before any call is parked. */
    memset(rt, 0xff, sizeof *rt);
    rt->host = host;
    rt->queue = queue;
    rt->parked = 0;
    rc = start(rt, cfg);
    if (rc != 0) {
        snprintf(err, err_cap, "cannot start the thread with \"%s\": %s", cfg, strerror(rc));
        free(rt);
        return 1;
    }
    return 0;
}
