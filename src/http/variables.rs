//! The variables of a request that a runtime has, or had: `$nffi_runtime` and those with it.

use nginx_sys::{
    NGX_HTTP_VAR_NOCACHEABLE, ngx_conf_t, ngx_http_add_variable, ngx_http_request_t, ngx_http_variable_value_t,
    ngx_int_t, ngx_pnalloc, ngx_str_t,
};

use super::exchange::Exchange;
use crate::barrier::barrier;

/// What a variable shows; `None` is "-".
type Show = fn(&Exchange) -> Option<String>;

const VARIABLES: [(&[u8], Show); 6] = [
    (b"nffi_runtime", |e| Some(e.runtime.name.clone())),
    (b"nffi_status", |e| (e.status != 0).then(|| e.status.to_string())),
    // From the queue's back to its front.
    (b"nffi_queue_time", |e| seconds(e.times.submitted, e.times.polled)),
    // From the queue's back to the answer's end.
    (b"nffi_time", |e| seconds(e.times.submitted, e.times.over)),
    (b"nffi_bytes", |e| Some(e.bytes.to_string())),
    (b"nffi_trace_id", |e| (e.trace != 0).then(|| format!("{:032x}", e.trace))),
];

fn seconds(from: u64, to: u64) -> Option<String> {
    let us = (from != 0 && to != 0).then(|| to.saturating_sub(from) / 1000)?;
    Some(format!("{}.{:06}", us / 1_000_000, us % 1_000_000))
}

/// Makes them known. Runs on: the process that reads the configuration, before it does.
pub fn add(cf: *mut ngx_conf_t) -> ngx_int_t {
    for (i, (name, _)) in VARIABLES.iter().enumerate() {
        let mut name = ngx_str_t { len: name.len(), data: name.as_ptr().cast_mut() };
        // SAFETY: cf is nginx's; the name lives for ever, and nginx copies it where it changes it.
        unsafe {
            let variable = ngx_http_add_variable(cf, &raw mut name, NGX_HTTP_VAR_NOCACHEABLE as usize);
            if variable.is_null() {
                return crate::ERROR;
            }
            (*variable).get_handler = Some(get);
            (*variable).data = i;
        }
    }
    crate::OK
}

unsafe extern "C" fn get(r: *mut ngx_http_request_t, value: *mut ngx_http_variable_value_t, data: usize) -> ngx_int_t {
    barrier(crate::ERROR, || {
        // SAFETY: nginx calls it for a live request.
        let exchange = unsafe { Exchange::latest(r) };
        // SAFETY: exchanges live as long as the request's pool.
        let text = exchange.and_then(|exchange| unsafe { VARIABLES.get(data)?.1(&*exchange) });
        // SAFETY: nginx's own value, and the request's pool.
        unsafe {
            let Some(text) = text else {
                (*value).set_not_found(1);
                return crate::OK;
            };
            let copy: *mut u8 = ngx_pnalloc((*r).pool, text.len().max(1)).cast();
            if copy.is_null() {
                return crate::ERROR;
            }
            copy.copy_from_nonoverlapping(text.as_ptr(), text.len());
            (*value).data = copy;
            (*value).set_len(text.len() as u32);
            (*value).set_valid(1);
            (*value).set_no_cacheable(0);
            (*value).set_not_found(0);
        }
        crate::OK
    })
}
