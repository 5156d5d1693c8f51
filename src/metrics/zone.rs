//! `nffi_zone`: the shared memory, made while the configuration is read, and found again after a reload.

use std::{ffi::c_void, ptr::NonNull};

use nffi_metrics::zone::{Header, Zone};
use nginx_sys::{
    NGX_LOG_EMERG, ngx_conf_t, ngx_int_t, ngx_parse_size, ngx_shared_memory_add, ngx_shm_zone_t, ngx_slab_pool_t,
    ngx_str_t,
};

use super::slab::Slab;
use crate::{barrier::barrier, conf, errlog, nginx};

/// Room for a few workers and runtimes: each worker takes 12 KiB, each runtime 2.
const LEAST: usize = 128 * 1024;

/// Asks nginx for the zone. Runs on: the directive's handler.
///
/// # Safety
/// `cf` is nginx's, inside the handler of a directive with a name and a size; both are in the configuration's pool.
pub unsafe fn declare(
    cf: *mut ngx_conf_t,
    name: ngx_str_t,
    size: ngx_str_t,
) -> Result<NonNull<ngx_shm_zone_t>, String> {
    // SAFETY: the caller's promise, for all that follows.
    unsafe {
        let (mut name, mut size) = (name, size);
        if name.len == 0 {
            return Err("the name of \"nffi_zone\" is empty".to_owned());
        }
        let bytes = usize::try_from(ngx_parse_size(&raw mut size)).unwrap_or(0);
        if bytes < LEAST {
            return Err("invalid size in \"nffi_zone\": at least 128k, such as 1m".to_owned());
        }
        let zone = ngx_shared_memory_add(cf, &raw mut name, bytes, (&raw mut crate::ngx_http_nffi_module).cast());
        // NULL: nginx has said why.
        let zone = NonNull::new(zone).ok_or_else(String::new)?;
        (*zone.as_ptr()).init = Some(init);
        Ok(zone)
    }
}

/// Runs on: the process that reads the configuration, once the memory is there. `data` is what the zone of the
/// configuration before had, if there was one and its memory is this one's.
unsafe extern "C" fn init(zone: *mut ngx_shm_zone_t, data: *mut c_void) -> ngx_int_t {
    barrier(crate::ERROR, || {
        // SAFETY: nginx passes its own zone; its memory begins with a slab pool.
        unsafe {
            let Some(pool) = NonNull::new((*zone).shm.addr.cast::<ngx_slab_pool_t>()) else { return crate::ERROR };
            // It is said by those who asked, with what it was for.
            (*pool.as_ptr()).set_log_nomem(0);
            let slab = Slab::new(pool);
            let header = NonNull::new((*pool.as_ptr()).data.cast::<Header>());
            let made = match header {
                Some(header) if !data.is_null() || (*zone).shm.exists != 0 => {
                    Zone::at(slab, header).map_err(|other| other.to_string())
                }
                _ => Zone::create(slab).ok_or_else(|| "no room in it".to_owned()),
            };
            match made {
                Ok(made) => {
                    (*pool.as_ptr()).data = made.header().as_ptr().cast();
                    (*zone).data = made.header().as_ptr().cast();
                    crate::OK
                }
                Err(why) => {
                    let name = String::from_utf8_lossy(nginx::bytes(&(*zone).shm.name));
                    errlog::write(
                        (*zone).shm.log,
                        NGX_LOG_EMERG as _,
                        format_args!("nffi_zone \"{name}\": {why}; give it another name, or restart nginx"),
                    );
                    crate::ERROR
                }
            }
        }
    })
}

/// The zone of the running configuration. Runs on: event loop.
pub fn open() -> Option<Zone<Slab>> {
    let zone = conf::zone()?;
    // SAFETY: the running configuration's zone, whose memory nginx has made and init() has seen.
    unsafe {
        let pool = NonNull::new((*zone.as_ptr()).shm.addr.cast::<ngx_slab_pool_t>())?;
        let header = NonNull::new((*pool.as_ptr()).data.cast::<Header>())?;
        Zone::at(Slab::new(pool), header).ok()
    }
}
