//! `nffi_status`: the content handler that shows what was counted.

use std::ptr;

use nffi_metrics::render::Format;
use nginx_sys::{
    NGX_ERROR, NGX_HTTP_GET, NGX_HTTP_HEAD, NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_HTTP_NOT_ALLOWED, NGX_HTTP_OK,
    NGX_HTTP_SERVICE_UNAVAILABLE, NGX_OK, ngx_buf_t, ngx_chain_t, ngx_http_arg, ngx_http_discard_request_body,
    ngx_http_output_filter, ngx_http_request_t, ngx_http_send_header, ngx_int_t, ngx_pcalloc, ngx_str_t,
};

use crate::{
    barrier::barrier,
    http::{LocConf, status},
    nginx, worker,
};

const FAILED: ngx_int_t = status(NGX_HTTP_INTERNAL_SERVER_ERROR);

/// Runs on: event loop, in the content phase.
pub unsafe extern "C" fn handle(r: *mut ngx_http_request_t) -> ngx_int_t {
    barrier(FAILED, || {
        // SAFETY: nginx passes a live request, in a location that has our handler.
        unsafe {
            if (*r).method & (NGX_HTTP_GET | NGX_HTTP_HEAD) as usize == 0 {
                return status(NGX_HTTP_NOT_ALLOWED);
            }
            let rc = ngx_http_discard_request_body(r);
            if rc != NGX_OK as ngx_int_t {
                return rc;
            }
            let view = worker::with(|worker| {
                worker.report();
                worker.metrics.as_ref().map(|metrics| metrics.view())
            });
            let Some(view) = view.flatten() else { return status(NGX_HTTP_SERVICE_UNAVAILABLE) };
            let conf: *const LocConf = nginx::loc_conf(r, &raw const crate::ngx_http_nffi_module);
            let format = format_of(r);
            send(r, format, &format.render(&view, (*conf).gojinn_names()))
        }
    })
}

/// By ?format=, else by what the client accepts.
///
/// # Safety
/// `r` is a live request.
unsafe fn format_of(r: *mut ngx_http_request_t) -> Format {
    // SAFETY: the caller's promise; the name is one of six letters.
    unsafe {
        let mut value = ngx_str_t { len: 0, data: ptr::null_mut() };
        let given = ngx_http_arg(r, c"format".as_ptr().cast_mut().cast(), 6, &raw mut value) == NGX_OK as ngx_int_t;
        if let Some(format) = given.then(|| Format::named(nginx::bytes(&value))).flatten() {
            return format;
        }
        let mut accept = Vec::new();
        nginx::each_header(&(*r).headers_in.headers, |name, value| {
            if name.eq_ignore_ascii_case(b"accept") {
                accept.extend_from_slice(value);
                accept.push(b',');
            }
        });
        Format::accepted(&accept)
    }
}

/// # Safety
/// `r` is a live request, to which nothing was sent.
unsafe fn send(r: *mut ngx_http_request_t, format: Format, text: &str) -> ngx_int_t {
    // SAFETY: the caller's promise; what is allocated is the request's.
    unsafe {
        let out = &mut (*r).headers_out;
        out.status = NGX_HTTP_OK as usize;
        out.content_length_n = text.len() as i64;
        let content_type = format.content_type();
        out.content_type = nginx::str_of(content_type.as_bytes());
        // nginx's filters know a type by what is before its parameters.
        out.content_type_len = content_type.find(';').unwrap_or(content_type.len());
        out.content_type_lowcase = ptr::null_mut();
        if nginx::add_header(r, b"Cache-Control", b"no-store").is_null() {
            return FAILED;
        }
        let buf: *mut ngx_buf_t = ngx_pcalloc((*r).pool, size_of::<ngx_buf_t>() + text.len()).cast();
        if buf.is_null() {
            return FAILED;
        }
        let start = buf.add(1).cast::<u8>();
        start.copy_from_nonoverlapping(text.as_ptr(), text.len());
        (*buf).pos = start;
        (*buf).last = start.add(text.len());
        (*buf).set_memory(1);
        (*buf).set_last_buf(u32::from(ptr::eq(r, (*r).main)));
        (*buf).set_last_in_chain(1);
        let rc = ngx_http_send_header(r);
        if rc == NGX_ERROR as ngx_int_t || rc > NGX_OK as ngx_int_t || (*r).header_only() != 0 {
            return rc;
        }
        let mut chain = ngx_chain_t { buf, next: ptr::null_mut() };
        ngx_http_output_filter(r, &raw mut chain)
    }
}
