//! nginx's macros and one-line functions that bindings do not have.

use std::{ffi::c_void, slice};

use nginx_sys::{
    NGX_HTTP_GZIP_BUFFERED, ngx_chain_t, ngx_connection_t, ngx_http_core_loc_conf_t, ngx_http_core_module,
    ngx_http_log_ctx_t, ngx_http_request_t, ngx_list_push, ngx_list_t, ngx_module_t, ngx_pool_t, ngx_str_t,
    ngx_table_elt_t,
};

/// The request's context of our module.
///
/// # Safety
/// `r` is a live request.
pub unsafe fn ctx(r: *mut ngx_http_request_t) -> *mut c_void {
    // SAFETY: the caller's promise; nginx has numbered the module.
    unsafe { *(*r).ctx.add(crate::ngx_http_nffi_module.ctx_index) }
}

/// # Safety
/// As for [`ctx`].
pub unsafe fn set_ctx(r: *mut ngx_http_request_t, ctx: *mut c_void) {
    // SAFETY: as above.
    unsafe { *(*r).ctx.add(crate::ngx_http_nffi_module.ctx_index) = ctx };
}

/// The configuration of the request's location, for a module.
///
/// # Safety
/// `r` is a live request, and T what the module's locations have.
pub unsafe fn loc_conf<T>(r: *mut ngx_http_request_t, module: *const ngx_module_t) -> *mut T {
    // SAFETY: the caller's promise.
    unsafe { (*(*r).loc_conf.add((*module).ctx_index)).cast() }
}

/// # Safety
/// `r` is a live request.
pub unsafe fn core_loc_conf(r: *mut ngx_http_request_t) -> *mut ngx_http_core_loc_conf_t {
    // SAFETY: the core module's own type.
    unsafe { loc_conf(r, &raw const ngx_http_core_module) }
}

/// Marks log lines of the connection with the request, before something is done for it that did not
/// begin with an event of the connection.
///
/// # Safety
/// `r` is a live request.
pub unsafe fn set_log_request(r: *mut ngx_http_request_t) {
    // SAFETY: the log's data of an HTTP connection is its context.
    unsafe {
        let ctx: *mut ngx_http_log_ctx_t = (*(*(*r).connection).log).data.cast();
        if !ctx.is_null() {
            (*ctx).current_request = r;
        }
    }
}

/// Bytes of one of nginx's strings.
///
/// # Safety
/// The string is live while the result is used.
pub unsafe fn bytes<'a>(s: &ngx_str_t) -> &'a [u8] {
    if s.data.is_null() || s.len == 0 {
        return &[];
    }
    // SAFETY: len bytes.
    unsafe { slice::from_raw_parts(s.data, s.len) }
}

pub fn str_of(bytes: &[u8]) -> ngx_str_t {
    ngx_str_t { len: bytes.len(), data: bytes.as_ptr().cast_mut() }
}

/// Calls `f` with name and value of each header of a list, in order; those without a hash are deleted.
///
/// # Safety
/// The list is live and holds headers.
pub unsafe fn each_header<'a>(list: &ngx_list_t, mut f: impl FnMut(&'a [u8], &'a [u8])) {
    let mut part = &raw const list.part;
    while !part.is_null() {
        // SAFETY: the caller's promise: parts have nelts elements each.
        unsafe {
            let elements: *const ngx_table_elt_t = (*part).elts.cast();
            for i in 0..(*part).nelts {
                let header = &*elements.add(i);
                if header.hash != 0 {
                    f(bytes(&header.key), bytes(&header.value));
                }
            }
            part = (*part).next;
        }
    }
}

/// Gives a link back to the pool, for the next one who wants one.
///
/// # Safety
/// The link is of that pool, and nobody else has it.
pub unsafe fn free_chain(pool: *mut ngx_pool_t, link: *mut ngx_chain_t) {
    // SAFETY: the caller's promise.
    unsafe {
        (*link).next = (*pool).chain;
        (*pool).chain = link;
    }
}

/// Does the client's connection hold bytes that it has not taken yet? What gzip holds back by itself is none
/// of them.
///
/// # Safety
/// `c` is a live connection.
pub unsafe fn is_buffered(c: *mut ngx_connection_t) -> bool {
    // SAFETY: the caller's promise.
    unsafe { (*c).buffered() & !NGX_HTTP_GZIP_BUFFERED != 0 }
}

/// Adds a header to the answer; strings are used as they are. NULL where no memory is left.
///
/// # Safety
/// `r` is a live request, and the strings live as long as it.
pub unsafe fn add_header(r: *mut ngx_http_request_t, name: &[u8], value: &[u8]) -> *mut ngx_table_elt_t {
    // SAFETY: the caller's promise; what is pushed is not initialised.
    unsafe {
        let header: *mut ngx_table_elt_t = ngx_list_push(&raw mut (*r).headers_out.headers).cast();
        if !header.is_null() {
            let mut new: ngx_table_elt_t = std::mem::zeroed();
            new.hash = 1;
            new.key = str_of(name);
            new.value = str_of(value);
            header.write(new);
        }
        header
    }
}
