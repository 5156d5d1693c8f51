//! The content handler of locations with `nffi_pass`.

use std::sync::Arc;

use nffi_core::runtime::Runtime;
use nginx_sys::{
    NGX_DONE, NGX_HTTP_INTERNAL_SERVER_ERROR, NGX_HTTP_SPECIAL_RESPONSE, NGX_LOG_ERR, ngx_http_block_reading,
    ngx_http_read_client_request_body, ngx_http_request_t, ngx_int_t,
};

use super::{
    answer, body,
    conf::{LocConf, status},
    exchange::{Exchange, Next, go_on},
    failure::Failure,
    request,
};
use crate::{barrier::barrier, errlog, nginx, worker};

const FAILED: ngx_int_t = status(NGX_HTTP_INTERNAL_SERVER_ERROR);

/// Runs on: event loop, in the content phase.
pub unsafe extern "C" fn handle(r: *mut ngx_http_request_t) -> ngx_int_t {
    barrier(FAILED, || {
        // SAFETY: nginx passes a live request, in a location that has our handler.
        unsafe {
            let conf: *const LocConf = nginx::loc_conf(r, &raw const crate::ngx_http_nffi_module);
            let Some(name) = (*conf).pass.as_ref().and_then(|pass| pass.of(r)) else { return FAILED };
            let name = String::from_utf8_lossy(name);
            let Some(runtime) = find(&name) else {
                errlog::write(
                    (*(*r).connection).log,
                    NGX_LOG_ERR as _,
                    format_args!("nffi_pass \"{name}\": no nffi_runtime of that name is declared"),
                );
                return FAILED;
            };
            if Exchange::new(r, conf, runtime).is_none() {
                return FAILED;
            }
            if !(*conf).request_buffering() {
                (*r).set_request_body_no_buffering(1);
            }
            let rc = ngx_http_read_client_request_body(r, Some(on_body));
            if rc >= NGX_HTTP_SPECIAL_RESPONSE as ngx_int_t {
                if let Some(exchange) = Exchange::of(r) {
                    (*exchange).close(rc.cast_unsigned());
                }
                return rc;
            }
            NGX_DONE as ngx_int_t
        }
    })
}

fn find(name: &str) -> Option<Arc<Runtime>> {
    worker::with(|worker| {
        let number = *worker.declared.get(name)?;
        Some(worker.dispatch.entry(number)?.runtime.clone())
    })
    .flatten()
}

/// nginx has read the body, or its beginning.
unsafe extern "C" fn on_body(r: *mut ngx_http_request_t) {
    // SAFETY: set by handle(), for a live request.
    barrier((), || unsafe {
        let Some(exchange) = Exchange::of(r) else { return };
        let next = submit(exchange);
        go_on(exchange, next);
    });
}

/// # Safety
/// `exchange` is one of a live request.
unsafe fn submit(exchange: *mut Exchange) -> Next {
    // SAFETY: the caller's promise.
    unsafe {
        let ready = match request::ready(exchange) {
            Ok(ready) => ready,
            Err(what) => return Next::Fail(Failure::Lacking(what)),
        };
        let this = &mut *exchange;
        let r = this.r;
        let more = ready.more;
        if let Err(refusal) = this.submit(ready) {
            return Next::Fail(Failure::Refused(refusal));
        }
        (*r).write_event_handler = Some(answer::on_writable);
        (*r).read_event_handler = Some(ngx_http_block_reading);
        if more {
            return body::pump(exchange);
        }
        body::watch_client(this);
        Next::Wait
    }
}
