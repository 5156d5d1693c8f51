/*
 * hello.c: a function in C, for `interface wasi`. It answers with a greeting, and says how long the request's JSON was.
 *
 *   clang --target=wasm32-wasi -O2 -o hello.wasm hello.c
 */
#include <stdio.h>

int main(void)
{
    static char request[1 << 16];
    size_t length = fread(request, 1, sizeof request, stdin);

    printf("{\"status\":200,\"headers\":{\"Content-Type\":[\"text/plain\"]},"
           "\"body\":\"hello from C, the request had %zu bytes of JSON\\n\"}",
           length);
    return 0;
}
