/**
 * HTTP requests of {@code nffi_pass}: a class that implements {@link io.github.nffi.http.HttpHandler} or
 * {@link io.github.nffi.http.AsyncHttpHandler} is named in nginx.conf, and answers by its
 * {@link io.github.nffi.http.HttpExchange}.
 */
package io.github.nffi.http;
