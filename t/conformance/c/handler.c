/* The conformance handler, on the bare ABI: a thread polls and answers; what waits gets a thread of its own. */
#include "nffi.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct runtime {
    const nffi_host *host;
    nffi_queue queue;
    char *greeting;
    atomic_int cancelled;
    atomic_int waiting; /* threads that may still use the host */
};

/* A request that takes its time, and its argument as a C string. */
struct job {
    struct runtime *rt;
    nffi_task task;
    char *arg;
};

static void answer(struct runtime *rt, nffi_task task, int status, const void *data, size_t len)
{
    char *copy = rt->host->alloc(len ? len : 1);

    if (copy == NULL) {
        rt->host->end(task, 1);
        return;
    }
    memcpy(copy, data, len);
    rt->host->reply(task, status, copy, len);
}

static void say(struct runtime *rt, nffi_task task, int status, const char *text)
{
    answer(rt, task, status, text, strlen(text));
}

static void nap(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

static void *sleep_job(void *arg)
{
    struct job *job = arg;
    struct runtime *rt = job->rt;

    for (long left = atol(job->arg); left > 0 && rt->host->cancelled(job->task) == 0; left -= 10) {
        nap(left < 10 ? left : 10);
    }
    if (rt->host->cancelled(job->task) == 1) atomic_fetch_add(&rt->cancelled, 1);
    say(rt, job->task, 0, "slept");
    free(job->arg);
    free(job);
    atomic_fetch_sub(&rt->waiting, 1);
    return NULL;
}

static void *run_job(void *arg)
{
    struct job *job = arg;
    struct runtime *rt = job->rt;
    char output[4096], text[4200];
    size_t len = 0;
    int ends[2], status = -1;

    if (pipe2(ends, 02000000 /* O_CLOEXEC */) == 0) {
        pid_t pid = fork();
        if (pid == 0) {
            dup2(ends[1], 1);
            execl("/bin/sh", "sh", "-c", job->arg, (char *)NULL);
            _exit(127);
        }
        close(ends[1]);
        for (ssize_t n; len < sizeof output && (n = read(ends[0], output + len, sizeof output - len)) > 0;) len += (size_t)n;
        close(ends[0]);
        if (waitpid(pid, &status, 0) != pid) len = (size_t)snprintf(output, sizeof output, "waitpid: %s", strerror(errno));
    }
    int head = snprintf(text, sizeof text, "%d ", WIFEXITED(status) ? WEXITSTATUS(status) : -1);
    memcpy(text + head, output, len);
    answer(rt, job->task, 0, text, (size_t)head + len);
    free(job->arg);
    free(job);
    atomic_fetch_sub(&rt->waiting, 1);
    return NULL;
}

static void start_job(struct runtime *rt, nffi_task task, const char *arg, void *(*body)(void *))
{
    struct job *job = malloc(sizeof *job);
    pthread_t thread;

    if (job != NULL) {
        *job = (struct job){rt, task, strdup(arg)};
        atomic_fetch_add(&rt->waiting, 1);
        if (job->arg != NULL && pthread_create(&thread, NULL, body, job) == 0) {
            pthread_detach(thread);
            return;
        }
        atomic_fetch_sub(&rt->waiting, 1);
        free(job->arg);
        free(job);
    }
    say(rt, task, 1, "no thread");
}

static void log_line(struct runtime *rt, nffi_task task, const char *level, const char *text)
{
    int number = !strcmp(level, "debug")  ? NFFI_LOG_DEBUG
                 : !strcmp(level, "info") ? NFFI_LOG_INFO
                 : !strcmp(level, "warn") ? NFFI_LOG_WARN
                                          : NFFI_LOG_ERR;

    rt->host->log(rt->queue, task, number, text, strlen(text));
}

static void command(struct runtime *rt, nffi_task task, char *text)
{
    char *rest = strchr(text, ' '), path[4096];

    if (rest) *rest++ = 0;
    else rest = text + strlen(text);
    if (!strcmp(text, "greeting")) {
        say(rt, task, 0, rt->greeting);
    } else if (!strcmp(text, "fail")) {
        char *message;
        long status = strtol(rest, &message, 10);
        say(rt, task, (int)status, message + (*message == ' '));
    } else if (!strcmp(text, "error")) {
        say(rt, task, 1, rest);
    } else if (!strcmp(text, "throw")) { /* C has nothing to throw */
        log_line(rt, task, "error", rest);
        say(rt, task, 1, rest);
    } else if (!strcmp(text, "sleep")) {
        start_job(rt, task, rest, sleep_job);
    } else if (!strcmp(text, "cancelled")) {
        snprintf(path, sizeof path, "%d", atomic_load(&rt->cancelled));
        say(rt, task, 0, path);
    } else if (!strcmp(text, "log")) {
        char *message = strchr(rest, ' ');
        if (message) *message++ = 0;
        log_line(rt, task, rest, message ? message : "");
        say(rt, task, 0, "logged");
    } else if (!strcmp(text, "env")) {
        const char *value = getenv(rest);
        if (value == NULL) snprintf(path, sizeof path, "no %s", rest);
        say(rt, task, value == NULL, value ? value : path);
    } else if (!strcmp(text, "cwd")) {
        say(rt, task, 0, getcwd(path, sizeof path) ? path : "none");
    } else if (!strcmp(text, "run")) {
        start_job(rt, task, rest, run_job);
    } else {
        say(rt, task, 1, "no such command");
    }
}

static void *serve(void *arg)
{
    struct runtime *rt = arg;
    nffi_event events[64];

    for (;;) {
        size_t n = rt->host->poll(rt->queue, events, 64, -1);
        for (size_t i = 0; i < n; i++) {
            const nffi_event *e = &events[i];
            if (e->kind == NFFI_CALL && (e->len == 0 || e->data[0] != '!')) {
                answer(rt, e->task, 0, e->data, e->len);
            } else if (e->kind == NFFI_CALL) {
                char *text = strndup(e->data + 1, e->len - 1);
                if (text) command(rt, e->task, text);
                else rt->host->end(e->task, 1);
                free(text);
            } else if (e->kind == NFFI_STOP) {
                while (atomic_load(&rt->waiting)) nap(1);
                rt->host->stopped(rt->queue);
                free(rt->greeting);
                free(rt);
                return NULL;
            }
        }
    }
}

/* The value of a string option in the JSON, or NULL. The values of these tests need no unescaping. */
static char *option(const char *cfg, const char *name)
{
    char key[64];
    snprintf(key, sizeof key, "\"%s\":\"", name);
    const char *value = strstr(cfg, key);
    if (value == NULL) return NULL;
    value += strlen(key);
    return strndup(value, strcspn(value, "\""));
}

int nffi_runtime_init_v1(const nffi_host *host, nffi_queue queue, const char *cfg, size_t len, char *err, size_t err_cap)
{
    struct runtime *rt = calloc(1, sizeof *rt);
    char *fail = option(cfg, "init_fail"), *delay = option(cfg, "init_sleep");
    pthread_t thread;
    int rc = 1;

    (void)len;
    if (delay) nap(atol(delay));
    if (fail) {
        snprintf(err, err_cap, "%s", fail);
    } else if (rt != NULL) {
        rt->host = host;
        rt->queue = queue;
        rt->greeting = option(cfg, "greeting");
        if (rt->greeting == NULL) rt->greeting = strdup("");
        rc = pthread_create(&thread, NULL, serve, rt);
        if (rc == 0) pthread_detach(thread);
        else snprintf(err, err_cap, "cannot start a thread: %s", strerror(rc));
    }
    if (rc) free(rt);
    free(fail);
    free(delay);
    return rc;
}
