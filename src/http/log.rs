//! What the log phase adds: the runtimes of requests that never reached one.

use nginx_sys::{NGX_HTTP_REQUEST_ENTITY_TOO_LARGE, NGX_LOG_ERR, ngx_http_request_t, ngx_int_t};

use super::{conf::LocConf, exchange::Exchange};
use crate::{barrier::barrier, errlog, nginx};

/// Names the runtime of a request that nginx has refused before any content handler, for the Content-Length
/// of its body. Runs on: event loop, in the log phase.
pub unsafe extern "C" fn handle(r: *mut ngx_http_request_t) -> ngx_int_t {
    barrier(crate::OK, || {
        // SAFETY: nginx passes a live request.
        unsafe {
            if (*r).headers_out.status != NGX_HTTP_REQUEST_ENTITY_TOO_LARGE as usize || Exchange::latest(r).is_some() {
                return crate::OK;
            }
            // A status of 413 may have other reasons. nginx's own number is 0 once it has dropped the body.
            let limit = (*nginx::core_loc_conf(r)).client_max_body_size;
            let said = (*r).headers_in.content_length.as_ref();
            let said =
                said.and_then(|header| std::str::from_utf8(nginx::bytes(&header.value)).ok()?.parse::<i64>().ok());
            if limit == 0 || said.is_none_or(|said| said <= limit) {
                return crate::OK;
            }
            let conf: *const LocConf = nginx::loc_conf(r, &raw const crate::ngx_http_nffi_module);
            if let Some(name) = (*conf).pass.as_ref().and_then(|pass| pass.of(r)) {
                let name = String::from_utf8_lossy(name);
                errlog::write(
                    (*(*r).connection).log,
                    NGX_LOG_ERR as _,
                    format_args!(
                        "nffi runtime \"{name}\" gets nothing of a request that ended with 413 (client_max_body_size)"
                    ),
                );
            }
        }
        crate::OK
    })
}
