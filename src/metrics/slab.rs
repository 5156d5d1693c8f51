//! nginx's slab allocator, as the zone wants its memory.

use std::ptr::NonNull;

use nffi_metrics::zone::Memory;
use nginx_sys::{ngx_shmtx_lock, ngx_shmtx_unlock, ngx_slab_calloc_locked, ngx_slab_free_locked, ngx_slab_pool_t};

/// The pool of a zone. nginx unlocks it where a worker dies while it has the lock.
#[derive(Debug, Clone, Copy)]
pub struct Slab(NonNull<ngx_slab_pool_t>);

impl Slab {
    /// # Safety
    /// The pool is one that nginx has made in shared memory, which is there as long as the process.
    pub unsafe fn new(pool: NonNull<ngx_slab_pool_t>) -> Self {
        Self(pool)
    }
}

impl Memory for Slab {
    fn alloc(&self, size: usize) -> Option<NonNull<u8>> {
        // SAFETY: new()'s promise, and the lock is held.
        NonNull::new(unsafe { ngx_slab_calloc_locked(self.0.as_ptr(), size) }.cast())
    }

    unsafe fn free(&self, at: NonNull<u8>) {
        // SAFETY: new()'s and the caller's promises.
        unsafe { ngx_slab_free_locked(self.0.as_ptr(), at.as_ptr().cast()) };
    }

    fn lock(&self) {
        // SAFETY: new()'s promise.
        unsafe { ngx_shmtx_lock(&raw mut (*self.0.as_ptr()).mutex) };
    }

    fn unlock(&self) {
        // SAFETY: the same; whoever calls it has the lock.
        unsafe { ngx_shmtx_unlock(&raw mut (*self.0.as_ptr()).mutex) };
    }
}
