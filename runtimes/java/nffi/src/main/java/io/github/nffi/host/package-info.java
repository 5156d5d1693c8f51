/**
 * What runs handlers: started by libnffi_java.so, and of no use without it. In the order of a request:
 * {@link io.github.nffi.host.Entry} starts a {@link io.github.nffi.host.Service}, whose threads (BlockingLoop, AsyncLoop)
 * exchange answers for events through a Batch with the Host, and keep what runs as Tasks.
 */
package io.github.nffi.host;
