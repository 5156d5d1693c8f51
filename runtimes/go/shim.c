#include "shim.h"

#include <string.h>

#include "_cgo_export.h"

extern char **environ;

enum { BATCH = 64 };

/* All else of this library is hidden. */
#define EXPORTED __attribute__((visibility("default")))

/* Here and not in Go, since nffi.h declares them, and cgo would declare them once more, without const. */
EXPORTED int nffi_runtime_init_v1(const nffi_host *host, nffi_queue queue, const char *cfg, size_t len,
                                  char *err, size_t err_cap)
{
    return nffiGoInit((nffi_host *)host, queue, (char *)cfg, len, err, err_cap);
}

EXPORTED int nffi_runtime_check_v1(const char *cfg, size_t len, char *err, size_t err_cap)
{
    return nffiGoCheck((char *)cfg, len, err, err_cap);
}

size_t nffi_go_poll(const nffi_host *host, nffi_queue queue, nffi_event *events, size_t max)
{
    return host->poll(queue, events, max, 0);
}

int nffi_go_poll_fd(const nffi_host *host, nffi_queue queue)
{
    return host->poll_fd(queue);
}

void nffi_go_reply(const nffi_host *host, const nffi_go_answer *answers, size_t n)
{
    nffi_answer batch[BATCH];

    while (n > 0) {
        size_t some = n < BATCH ? n : BATCH;

        for (size_t i = 0; i < some; i++) {
            nffi_answer *to = &batch[i];

            memset(to, 0, sizeof(*to));
            to->task = answers[i].task;
            to->status = answers[i].status;
            if (answers[i].len == 0)
                continue; /* NULL is an answer of no bytes */
            to->data = host->alloc(answers[i].len);
            if (to->data == NULL) {
                to->status = 1;
                continue;
            }
            to->len = answers[i].len;
            memcpy(to->data, (const void *)answers[i].data, to->len);
        }
        host->reply_many(batch, some);
        answers += some;
        n -= some;
    }
}

int nffi_go_write(const nffi_host *host, nffi_task task, const char *data, size_t len)
{
    char *copy = host->alloc(len > 0 ? len : 1);

    if (copy == NULL)
        return NFFI_GONE;
    if (len > 0)
        memcpy(copy, data, len);
    return host->write(task, copy, len);
}

int nffi_go_read(const nffi_host *host, nffi_task task, char **data, size_t *len)
{
    return host->read(task, data, len);
}

int nffi_go_cancelled(const nffi_host *host, nffi_task task)
{
    return host->cancelled(task);
}

void nffi_go_release(const nffi_host *host, char *data)
{
    host->release(data);
}

void nffi_go_log(const nffi_host *host, nffi_queue queue, nffi_task task, int level, const char *text, size_t len)
{
    host->log(queue, task, level, text, len);
}

void nffi_go_stopped(const nffi_host *host, nffi_queue queue)
{
    host->stopped(queue);
}

const char *nffi_go_environment(size_t i)
{
    return environ == NULL ? NULL : environ[i];
}
