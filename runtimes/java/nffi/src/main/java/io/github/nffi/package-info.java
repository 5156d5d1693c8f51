/**
 * Handlers for nginx: a class that implements {@link io.github.nffi.Handler} or {@link io.github.nffi.AsyncHandler} is
 * named in nginx.conf, and called from Lua. {@code io.github.nffi.host} is what runs it, and no concern of a handler's.
 */
package io.github.nffi;
