package com.example;

import io.github.nffi.http.HttpExchange;
import io.github.nffi.http.HttpHandler;

public final class HelloWeb implements HttpHandler {
    @Override
    public void handle(HttpExchange exchange) {
        exchange.send(200, "hello, " + exchange.request().clientAddress());
    }
}
