package com.example;

import io.github.nffi.Handler;
import io.github.nffi.Request;

public final class Hello implements Handler {
    @Override
    public byte[] call(Request request) {
        return ("hello, " + request.text()).getBytes();
    }
}
