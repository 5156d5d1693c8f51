/* A runtime library whose code is in the process that loads it: its configuration is the address
 * of an init function there, in hex, and what that function is to be given. */
#include <stdlib.h>
#include <string.h>

#include "nffi.h"

typedef int init_fn(const nffi_host *, nffi_queue, const char *, size_t, char *, size_t);

int nffi_runtime_init_v1(const nffi_host *host, nffi_queue queue, const char *cfg, size_t len, char *err,
                         size_t err_cap)
{
    char *rest;
    init_fn *init = (init_fn *)(uintptr_t)strtoull(cfg, &rest, 16);
    if (cfg[len] != '\0') return 1;
    return init(host, queue, rest, strlen(rest), err, err_cap);
}
