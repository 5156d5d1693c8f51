/*
 * nffi.h: the C ABI between a host and a runtime, version 1.
 *
 * A runtime is a shared library that exports nffi_runtime_init_v1(). It links
 * against nothing: everything it may call is in the nffi_host table that it is
 * handed. A host takes requests from somewhere (a Lua coroutine, an HTTP
 * client, a test) and puts each one, as a task, on the runtime's queue; threads
 * of the runtime poll() the queue and answer.
 *
 * The contract in five lines:
 *   1. Every NFFI_CALL and NFFI_HTTP is ended exactly once by the runtime, with
 *      reply() or end(), also after NFFI_CANCEL.
 *   2. Memory handed to the host (data of reply, write) comes from
 *      host->alloc() or malloc() and is the host's from that moment on, also
 *      when the call fails.
 *   3. Memory handed out by poll() stays valid until the runtime ends the task.
 *   4. Every function of the table may be called from any thread, by any number
 *      of threads at once, unless its comment says otherwise.
 *   5. A wrong handle (ended, dead, garbage) is an error code, never a crash.
 *
 * Each function below says OWNERSHIP, THREAD and RETURNS. All lengths are bytes.
 */
#ifndef NFFI_H
#define NFFI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define NFFI_ABI 1

/* The symbols that a runtime exports. The name carries the version, so that a
 * host can tell from the ELF alone what it is about to load. */
#define NFFI_INIT_SYMBOL "nffi_runtime_init_v1"
#define NFFI_CHECK_SYMBOL "nffi_runtime_check_v1"

/* A request on its way through a runtime. A handle, not a pointer; 0 is never a task. */
typedef uint64_t nffi_task;

/* A runtime's queue. A handle too; 0 is never a queue; poll() on a dead one answers NFFI_STOP. */
typedef uint64_t nffi_queue;

/* nffi_event.kind */
enum {
    NFFI_CALL = 1,     /* a message: data, len hold the whole request                          */
    NFFI_HTTP = 2,     /* an HTTP request: data points to its nffi_http_request                 */
    NFFI_READABLE = 3, /* after read() gave NFFI_AGAIN: it has a piece, or the end, now         */
    NFFI_WRITABLE = 4, /* after write() gave NFFI_FULL: the window is open again                */
    NFFI_CANCEL = 5,   /* the caller has gone (timeout, disconnect, kill); answers are dropped.
                          The task must still be ended. May overtake its NFFI_CALL when several
                          threads poll: register the task first, then ask cancelled()           */
    NFFI_STOP = 6      /* no more work will come. Sticky: every poll() of every thread gets it  */
};

/* nffi_event.flags */
enum {
    NFFI_MORE = 1,   /* pieces of the request follow data, len: read() them. With NFFI_HTTP: the
                        pieces are the request's body                                           */
    NFFI_PIECES = 2, /* the caller takes the answer piece by piece. Without it write() works
                        too: the host gathers the pieces until end() or reply()                 */
    NFFI_CAST = 4    /* nobody waits for the answer; the task must be ended all the same        */
};

/* What the functions return. Negative: the call did nothing (but see OWNERSHIP). */
enum {
    NFFI_OK = 0,
    NFFI_FULL = 1,  /* write: taken; write no more until NFFI_WRITABLE                          */
    NFFI_AGAIN = 2, /* read: nothing now; one NFFI_READABLE will follow                         */
    NFFI_EOF = 3,   /* read: the request is complete                                            */
    NFFI_GONE = -1, /* the caller has gone, the data was dropped; end the task                  */
    NFFI_BAD = -2   /* no such task (ended already, never was), or a bad argument               */
};

/* Levels of log(): those of syslog, RFC 5424. */
enum {
    NFFI_LOG_EMERG = 0,
    NFFI_LOG_ALERT = 1,
    NFFI_LOG_CRIT = 2,
    NFFI_LOG_ERR = 3,
    NFFI_LOG_WARN = 4,
    NFFI_LOG_NOTICE = 5,
    NFFI_LOG_INFO = 6,
    NFFI_LOG_DEBUG = 7
};

/* What poll() hands out. 40 bytes, for ever. */
typedef struct nffi_event {
    uint32_t kind;     /* NFFI_CALL ...                                                          */
    uint32_t flags;    /* NFFI_MORE ...                                                          */
    nffi_task task;    /* 0 with NFFI_STOP                                                       */
    const char *data;  /* the host's; valid until the runtime ends the task. Not NUL-terminated.
                          Never NULL with NFFI_CALL, also where len is 0. With NFFI_HTTP an
                          nffi_http_request, and len is its size                                 */
    size_t len;        /* bytes                                                                  */
    uint64_t deadline; /* when the caller stops waiting: CLOCK_MONOTONIC, nanoseconds; 0 never   */
} nffi_event;

/* One answer of reply_many(). 40 bytes. */
typedef struct nffi_answer {
    nffi_task task;
    int32_t status; /* as in reply()                                                             */
    uint32_t flags; /* 0                                                                         */
    char *data;     /* as in reply()                                                             */
    size_t len;
    int32_t result; /* out: what reply() would have returned                                     */
    uint32_t reserved;
} nffi_answer;

typedef struct nffi_str {
    const char *data; /* not NUL-terminated */
    size_t len;
} nffi_str;

typedef struct nffi_header {
    nffi_str name;
    nffi_str value;
} nffi_header;

/* nffi_http_request.flags */
enum {
    NFFI_HTTP_UPGRADE = 1, /* the client asks to upgrade the connection, and it can be           */
    NFFI_HTTP_BODY = 2,    /* there is a body: with NFFI_MORE read() it piece by piece; otherwise
                              it is body, or, where that is empty, the file body_fd              */
    NFFI_HTTP_TLS = 4
};

/* The head of an HTTP request, as the host got it, and its body where that is complete. Grows at
 * the end only; size tells. Everything it points to lives as long as it: until the runtime ends the
 * task. Strings are bytes as the client sent them, in no encoding. */
typedef struct nffi_http_request {
    uint32_t size;          /* sizeof(nffi_http_request) of the host                             */
    uint32_t flags;         /* NFFI_HTTP_BODY ...                                                */
    uint32_t version;       /* major * 1000 + minor: 1001 is HTTP/1.1                            */
    uint16_t client_port;   /* 0 with a unix socket                                              */
    uint16_t server_port;
    nffi_str method;
    nffi_str raw_path;      /* as the client sent it, without the query; where the host rewrote
                               it, path in percent-encoding                                      */
    nffi_str path;          /* decoded and normalised                                            */
    nffi_str query;         /* without the question mark                                         */
    nffi_str prefix;        /* where the app is mounted: root_path, SCRIPT_NAME                  */
    nffi_str scheme;        /* "http", "https"                                                   */
    nffi_str client_addr;   /* a number, or "unix:"                                              */
    nffi_str server_addr;
    nffi_str server_name;   /* what the client asked for, else what is configured                */
    const nffi_header *headers; /* in the client's order, duplicates kept                        */
    size_t headers_len;
    const nffi_header *params;  /* named values that the host's configuration adds               */
    size_t params_len;
    int64_t content_length; /* of the body; -1 unknown; 0 where there is none                    */
    nffi_str body;          /* a whole body in memory                                            */
    int32_t body_fd;        /* a whole body in a file, from offset 0. The host's, open until the
                               runtime ends the task: pread() or dup() it; -1 none               */
    uint32_t reserved;
} nffi_http_request;

/* The host's functions. Valid for the life of the process. Grows at the end
 * only: a runtime checks abi, and size before it uses a field that a later
 * header added. */
typedef struct nffi_host {
    uint32_t abi;  /* NFFI_ABI of the host                                                       */
    uint32_t size; /* sizeof(nffi_host) of the host                                              */

    /* Takes up to max events off the queue, waiting up to timeout_ms for the first (-1: for
     * ever; 0: never wait). Survives EINTR.
     * OWNERSHIP: the event array is the caller's, what its data points to is the host's.
     * THREAD: any; any number of threads may poll one queue.
     * RETURNS: the number of events, 0 at the timeout. After NFFI_STOP, NFFI_STOP again. */
    size_t (*poll)(nffi_queue queue, nffi_event *events, size_t max, int timeout_ms);

    /* A descriptor for epoll, asyncio, libuv ...: readable while events may wait. Only poll()
     * resets it, before the last look of a call that returns fewer than max events, so that it
     * is right for level and for edge triggering: poll until fewer than max come.
     * OWNERSHIP: the host's. Never read, write or close it; dup() it where a library wants to.
     * THREAD: any. RETURNS: the descriptor, or -1 (no such queue, no descriptor to be had). */
    int (*poll_fd)(nffi_queue queue);

    /* Ends the task with an answer. status 0 is success; any other value is the runtime's own
     * error number, and data its message.
     * OWNERSHIP: data (malloc'd; NULL is an answer of no bytes, whatever len says) is taken, even
     * on error.
     * THREAD: any. RETURNS: NFFI_OK, NFFI_GONE (ended, but nobody waits any more), NFFI_BAD. */
    int (*reply)(nffi_task task, int status, char *data, size_t len);

    /* Sends one piece of the answer. Pieces arrive one by one as they were sent, those of 0 bytes
     * too, in the order of the calls. NULL with a len other than 0 is NFFI_BAD.
     * OWNERSHIP: data (malloc'd) is taken, even on error. THREAD: any.
     * RETURNS: NFFI_OK, NFFI_FULL, NFFI_GONE, NFFI_BAD. */
    int (*write)(nffi_task task, char *data, size_t len);

    /* Takes the next piece of the request.
     * OWNERSHIP: *data becomes the runtime's: release() it. THREAD: any; pieces are pulled, so
     * that several threads cannot reorder them unless they race for them.
     * RETURNS: NFFI_OK, NFFI_AGAIN, NFFI_EOF, NFFI_GONE, NFFI_BAD. */
    int (*read)(nffi_task task, char **data, size_t *len);

    /* n replies in one call, for languages in which a call costs. Each answer's result is set.
     * OWNERSHIP: the array is the caller's, every data is taken. THREAD: any.
     * RETURNS: how many answers ended their task with NFFI_OK. */
    size_t (*reply_many)(nffi_answer *answers, size_t n);

    /* Ends the task after its last write(). status as in reply().
     * THREAD: any. RETURNS: NFFI_OK, NFFI_GONE, NFFI_BAD. */
    int (*end)(nffi_task task, int status);

    /* Has the caller gone?
     * THREAD: any. RETURNS: 1 yes, 0 no, NFFI_BAD. */
    int (*cancelled)(nffi_task task);

    /* A line for the host's log, with the runtime's name and, where task is not 0, the request
     * that it belongs to. Lines go through a bounded queue; what does not fit is counted.
     * OWNERSHIP: message is copied. THREAD: any. */
    void (*log)(nffi_queue queue, nffi_task task, int level, const char *message, size_t len);

    /* After NFFI_STOP: no thread of this runtime touches the host again. A host waits for it,
     * for a bounded time, before its process exits. THREAD: any. */
    void (*stopped)(nffi_queue queue);

    /* malloc() and free() of the host, for runtimes whose own differ.
     * OWNERSHIP: what alloc() returns is the caller's until handed over or released.
     * THREAD: any. RETURNS: NULL where no memory is left. */
    void *(*alloc)(size_t size);
    void (*release)(void *data);

    /* HTTP. All NULL in a host that has none.
     *
     * The answer to an NFFI_HTTP task is http_head(), any number of write() and http_file(),
     * perhaps http_trailers(), and end(task, 0); or, for its last piece, reply(task, 0, data, len).
     * Any other status in end() or reply() is a failure, data its message for the host's log: before
     * the head was sent the client gets a 502, after it the connection is cut, so that nobody takes
     * the answer for a whole one. An answer without a head, or of another length than its
     * Content-Length, is such a failure too. */

    /* The request of an NFFI_HTTP task, as in its event.
     * OWNERSHIP: the host's, valid until the runtime ends the task. THREAD: any.
     * RETURNS: NULL where task is no HTTP task. */
    const nffi_http_request *(*http)(nffi_task task);

    /* Gives the head of the answer: once, before any write(). It is sent with the first piece, or
     * with the end; a write() of 0 bytes sends it at once. A status of 1xx may come before it any
     * number of times, and is sent at once where the host can. The length of the body is the header
     * Content-Length's; how it is framed, and Connection, are the host's.
     *
     * 101 is for a task with NFFI_HTTP_UPGRADE only, and is sent at once: from then on write()
     * and read() carry the bytes of the connection, whether NFFI_MORE was set or not; NFFI_EOF is
     * the client's end of it, end() closes it.
     * OWNERSHIP: the headers are copied. THREAD: any.
     * RETURNS: NFFI_OK, NFFI_GONE, NFFI_BAD (sent already, or malformed: a status below 100 or
     * above 999, a name that is no token, a value with CR, LF or NUL). */
    int (*http_head)(nffi_task task, int status, const nffi_header *headers, size_t n);

    /* Sends length bytes of an open file, from offset, as the next piece (length -1: to its end).
     * The file must not shrink meanwhile.
     * OWNERSHIP: fd is taken, even on error. THREAD: any. RETURNS: as write(); NFFI_BAD also where
     * it is no regular file, is shorter, or the connection was upgraded. */
    int (*http_file)(nffi_task task, int fd, int64_t offset, int64_t length);

    /* Trailers: once, after the last write(), before end(). The host drops them where the
     * client's protocol has none.
     * OWNERSHIP: the headers are copied. THREAD: any. RETURNS: as http_head(). */
    int (*http_trailers)(nffi_task task, const nffi_header *headers, size_t n);
} nffi_host;

/* Exported by the runtime. Starts it: reads the configuration, starts the threads that will
 * poll the queue, and returns. No poll loop inside.
 *   cfg      the configuration, len bytes and a NUL after them: JSON of the runtime's own
 *            options, or the string given with config / config_file. Valid during the call only.
 *   err      room for a message of at most err_cap bytes, its NUL included: why it failed.
 * THREAD: one of the host's own, never its event loop; calls for one library never overlap.
 * RETURNS: 0, or any other number: failed; every call is answered with the message. */
int nffi_runtime_init_v1(const nffi_host *host, nffi_queue queue, const char *cfg, size_t len, char *err,
                         size_t err_cap);

/* Exported by the runtime, optional: is this configuration sound? Runs in a process that ends
 * soon, under a time limit, whenever the host's configuration is tested. Where several runtimes
 * name this library it is called for one after the other, in the order of their declaration: so
 * one that can be in a process only once may compare them. Starts nothing.
 * RETURNS: 0, or any other number: the configuration is refused with the message. */
int nffi_runtime_check_v1(const char *cfg, size_t len, char *err, size_t err_cap);

#ifdef __cplusplus
}
#endif

#endif /* NFFI_H */
