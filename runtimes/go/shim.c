#include "shim.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

typedef int give(const nffi_host *host, nffi_task task, int status, const nffi_header *headers, size_t n);

static int give_head(const nffi_host *host, nffi_task task, int status, const nffi_header *headers, size_t n)
{
    return host->http_head(task, status, headers, n);
}

static int give_trailers(const nffi_host *host, nffi_task task, int status, const nffi_header *headers, size_t n)
{
    (void)status;
    return host->http_trailers(task, headers, n);
}

/* Unpacks a block of header lines, which the host copies. */
static int unpack(const nffi_host *host, nffi_task task, uintptr_t block, give *to)
{
    const nffi_go_head *head = (const nffi_go_head *)block;
    const uint32_t *lengths = (const uint32_t *)(head + 1);
    const char *text = (const char *)(lengths + 2 * (size_t)head->room);
    nffi_header few[32], *headers = few;
    int rc;

    if (host->http_head == NULL)
        return NFFI_BAD;
    if (head->n > sizeof few / sizeof *few) {
        headers = malloc(head->n * sizeof *headers);
        if (headers == NULL)
            return NFFI_GONE;
    }
    for (size_t i = 0; i < head->n; i++) {
        nffi_str *parts[] = {&headers[i].name, &headers[i].value};

        for (size_t part = 0; part < 2; part++) {
            parts[part]->data = text;
            parts[part]->len = lengths[2 * i + part];
            text += parts[part]->len;
        }
    }
    rc = to(host, task, (int)head->status, headers, head->n);
    if (headers != few)
        free(headers);
    return rc;
}

/* The message of a task whose head the host does not take. */
static void refuse(const nffi_host *host, nffi_answer *answer)
{
    static const char why[] = "the host has refused the head or the trailers of the answer";

    answer->status = 1;
    answer->data = host->alloc(sizeof why - 1);
    if (answer->data == NULL)
        return;
    answer->len = sizeof why - 1;
    memcpy(answer->data, why, answer->len);
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
            if ((answers[i].head != 0 && unpack(host, to->task, answers[i].head, give_head) == NFFI_BAD) ||
                (answers[i].trailers != 0 && unpack(host, to->task, answers[i].trailers, give_trailers) == NFFI_BAD)) {
                refuse(host, to);
                continue;
            }
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

int nffi_go_head_now(const nffi_host *host, nffi_task task, uintptr_t head)
{
    return unpack(host, task, head, give_head);
}

int nffi_go_send(const nffi_host *host, nffi_task task, uintptr_t head, uintptr_t first, size_t first_len, uintptr_t second,
                 size_t second_len)
{
    int rc = head != 0 ? unpack(host, task, head, give_head) : NFFI_OK;
    char *copy;

    if (rc != NFFI_OK)
        return rc;
    copy = host->alloc(first_len + second_len > 0 ? first_len + second_len : 1);
    if (copy == NULL)
        return NFFI_GONE;
    if (first_len > 0)
        memcpy(copy, (const void *)first, first_len);
    if (second_len > 0)
        memcpy(copy + first_len, (const void *)second, second_len);
    return host->write(task, copy, first_len + second_len);
}

int nffi_go_file(const nffi_host *host, nffi_task task, uintptr_t head, uintptr_t first, size_t first_len, int fd,
                 int64_t offset, int64_t length)
{
    int rc = NFFI_OK;

    if (first_len > 0)
        rc = nffi_go_send(host, task, head, first, first_len, 0, 0);
    else if (head != 0)
        rc = unpack(host, task, head, give_head);
    if (rc < 0) {
        close(fd);
        return NFFI_GONE;
    }
    return host->http_file(task, fd, offset, length);
}

nffi_go_pulled nffi_go_pull(const nffi_host *host, nffi_task task, uintptr_t to, size_t room)
{
    nffi_go_pulled pulled = {0};

    pulled.rc = host->read(task, &pulled.data, &pulled.len);
    if (pulled.rc != NFFI_OK) {
        pulled.data = NULL;
        return pulled;
    }
    pulled.copied = pulled.len < room ? pulled.len : room;
    if (pulled.copied > 0)
        memcpy((void *)to, pulled.data, pulled.copied);
    if (pulled.copied == pulled.len) {
        host->release(pulled.data);
        pulled.data = NULL;
    }
    return pulled;
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
