/* What Go calls: the host's functions are pointers, which cgo cannot call, and each call into C costs, so several
 * answers go in one. */
#ifndef NFFI_GO_SHIM_H
#define NFFI_GO_SHIM_H

#include "nffi.h"

/* One answer on its way out of Go. data is an address in Go's memory, or 0. It is a number, so that cgo need not
 * look behind it at each call; whoever fills it in keeps the memory alive. */
typedef struct nffi_go_answer {
    uint64_t task;
    uintptr_t data;
    size_t len;
    uintptr_t head;     /* of an HTTP answer: addresses of blocks, or 0 */
    uintptr_t trailers;
    int32_t status;
    uint32_t reserved;
} nffi_go_answer;

/* Header lines as Go packs them, in one block without pointers: this, then for each of `room` lines the lengths of its
 * name and value (uint32_t each; those from n on are unused), then all names and values. */
typedef struct nffi_go_head {
    uint32_t status; /* of a head; 0 for trailers */
    uint32_t n;
    uint32_t room;
} nffi_go_head;

/* What nffi_go_pull() has taken. */
typedef struct nffi_go_pulled {
    size_t copied;
    char *data; /* where the piece was larger: the piece, to be released; else NULL */
    size_t len; /* of the piece */
    int32_t rc; /* as read() */
} nffi_go_pulled;

/* poll() without waiting. THREAD: any. */
size_t nffi_go_poll(const nffi_host *host, nffi_queue queue, nffi_event *events, size_t max);
int nffi_go_poll_fd(const nffi_host *host, nffi_queue queue);
/* Copies the answers into the host's memory and hands them over. OWNERSHIP: the caller's stay the caller's. THREAD: any. */
void nffi_go_reply(const nffi_host *host, const nffi_go_answer *answers, size_t n);
/* write() with a copy of the piece. RETURNS: as write(), NFFI_GONE where no memory is left. THREAD: any. */
int nffi_go_write(const nffi_host *host, nffi_task task, const char *data, size_t len);
/* http_head(). RETURNS: as it, NFFI_GONE where no memory is left. THREAD: any. */
int nffi_go_head_now(const nffi_host *host, nffi_task task, uintptr_t head);
/* http_head() where head is not 0, then one write() with a copy of the two parts. RETURNS: as write(). THREAD: any. */
int nffi_go_send(const nffi_host *host, nffi_task task, uintptr_t head, uintptr_t first, size_t first_len, uintptr_t second,
                 size_t second_len);
/* The same with the first part, where there is any, and then a part of a file. OWNERSHIP: fd is taken. RETURNS: as
 * http_file(); NFFI_BAD only where the file was refused. THREAD: any. */
int nffi_go_file(const nffi_host *host, nffi_task task, uintptr_t head, uintptr_t first, size_t first_len, int fd,
                 int64_t offset, int64_t length);
/* read(), copied to `to` as far as there is room. THREAD: any. */
nffi_go_pulled nffi_go_pull(const nffi_host *host, nffi_task task, uintptr_t to, size_t room);
int nffi_go_read(const nffi_host *host, nffi_task task, char **data, size_t *len);
int nffi_go_cancelled(const nffi_host *host, nffi_task task);
void nffi_go_release(const nffi_host *host, char *data);
void nffi_go_log(const nffi_host *host, nffi_queue queue, nffi_task task, int level, const char *text, size_t len);
void nffi_go_stopped(const nffi_host *host, nffi_queue queue);

/* The process's environment as it is now; Go has what it was when nginx was started. RETURNS: entry i, NULL after the last. */
const char *nffi_go_environment(size_t i);

#endif /* NFFI_GO_SHIM_H */
