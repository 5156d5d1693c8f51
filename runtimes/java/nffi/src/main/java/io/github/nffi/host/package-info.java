/**
 * What runs handlers: started by libnffi_java.so, and of no use without it. In the order of a request:
 * {@link io.github.nffi.host.Entry} starts a {@link io.github.nffi.host.Service}, whose threads (PoolLoop, EventLoop)
 * exchange answers for events through a Batch with the Host, and keep what runs as Tasks. All else reaches the Host by a
 * Gate, which closes when the Service has stopped.
 */
package io.github.nffi.host;
