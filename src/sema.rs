//! ngx_lua's semaphores, through the C functions that lua-resty-core itself calls. Their
//! signatures have not changed from ngx_lua 0.10.13 to 0.10.31. They are looked up at run time,
//! so that the module loads in an nginx without Lua, whatever the order of modules.
//!
//! Rules: a wait that said [`Wait::Yield`] must be followed by a yield of that very coroutine; a
//! semaphore with a count other than 0 has a stale post and is not used again.

use std::{
    ffi::{CStr, c_char, c_int, c_void},
    ptr,
};

use nginx_sys::{NGX_AGAIN, NGX_OK, ngx_http_request_t};

/// Room for ngx_lua's message.
const ERR_CAP: usize = 128;

#[derive(Debug, Clone, Copy)]
pub struct Api {
    new: unsafe extern "C" fn(*mut *mut c_void, c_int, *mut *const c_char) -> c_int,
    wait: unsafe extern "C" fn(*mut ngx_http_request_t, *mut c_void, c_int, *mut u8, *mut usize) -> c_int,
    post: unsafe extern "C" fn(*mut c_void, c_int) -> c_int,
    count: unsafe extern "C" fn(*mut c_void) -> c_int,
    gc: unsafe extern "C" fn(*mut c_void),
}

/// One semaphore, of one owner.
#[derive(Debug)]
pub struct Sema(*mut c_void);

/// What a wait said.
pub enum Wait {
    /// The coroutine is on the semaphore's queue: it must yield now.
    Yield,
    /// It cannot wait here, and why.
    Refused(String),
}

/// Looks up a C function of whatever is loaded.
///
/// # Safety
/// `F` is the type of the function that goes by that name.
pub unsafe fn symbol<F: Copy>(name: &CStr) -> Option<F> {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
    // SAFETY: dlsym with a NUL-terminated name.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    // SAFETY: F is a function pointer of the right type (the caller's promise), and not NULL.
    (!address.is_null()).then(|| unsafe { std::mem::transmute_copy(&address) })
}

impl Api {
    /// `None` in an nginx without ngx_lua.
    pub fn find() -> Option<Self> {
        // SAFETY: the types are those of ngx_lua's ngx_http_lua_semaphore.c.
        unsafe {
            Some(Self {
                new: symbol(c"ngx_http_lua_ffi_sema_new")?,
                wait: symbol(c"ngx_http_lua_ffi_sema_wait")?,
                post: symbol(c"ngx_http_lua_ffi_sema_post")?,
                count: symbol(c"ngx_http_lua_ffi_sema_count")?,
                gc: symbol(c"ngx_http_lua_ffi_sema_gc")?,
            })
        }
    }

    pub fn create(&self) -> Option<Sema> {
        let mut sem = ptr::null_mut();
        let mut message = ptr::null();
        // SAFETY: both are out parameters.
        let rc = unsafe { (self.new)(&mut sem, 0, &mut message) };
        (rc == NGX_OK as c_int && !sem.is_null()).then_some(Sema(sem))
    }

    /// Puts the running coroutine of `r` to sleep for at most `timeout` ms.
    pub fn wait(&self, r: *mut ngx_http_request_t, sem: &Sema, timeout: i32) -> Wait {
        let mut err = [0u8; ERR_CAP];
        let mut len = err.len();
        // SAFETY: r is the request that Lua runs for; sem is alive; err has len bytes.
        let rc = unsafe { (self.wait)(r, sem.0, timeout, err.as_mut_ptr(), &mut len) };
        if rc == NGX_AGAIN as c_int {
            return Wait::Yield;
        }
        let message = String::from_utf8_lossy(&err[..len.min(ERR_CAP)]).into_owned();
        Wait::Refused(if rc == NGX_OK as c_int { "semaphore had a stale post".to_owned() } else { message })
    }

    /// Resumes the waiter after the handlers that run now.
    pub fn post(&self, sem: &Sema) {
        // SAFETY: sem is alive. post only queues an event.
        unsafe { (self.post)(sem.0, 1) };
    }

    /// Posts less waiters: −1 while its one coroutine waits.
    pub fn count(&self, sem: &Sema) -> i32 {
        // SAFETY: sem is alive.
        unsafe { (self.count)(sem.0) }
    }

    pub fn is_waiting(&self, sem: &Sema) -> bool {
        self.count(sem) < 0
    }

    pub fn destroy(&self, sem: Sema) {
        // SAFETY: the only reference; gc also takes back a posted event.
        unsafe { (self.gc)(sem.0) };
    }
}
