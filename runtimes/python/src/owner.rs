//! Which copy of this library has the interpreter. A link to the file is the same library to the
//! dynamic linker; a copy of it, or what has replaced it meanwhile, is another one, with statics of
//! its own, and would start Python once more in the same process. So all copies go by a mark of
//! the one that was loaded first.

use std::{
    ffi::{CStr, CString, OsStr, c_char, c_int, c_void},
    os::unix::ffi::OsStrExt,
    path::PathBuf,
    ptr,
    sync::{
        OnceLock,
        atomic::{AtomicPtr, Ordering},
    },
};

use libloading::os::unix::{Library, RTLD_LAZY};

const MARK: &[u8] = b"NFFI_PYTHON_OWNER_V1\0";

/// The path of the copy that has the interpreter, or is about to start it; NULL for none. Only
/// that of the first copy counts.
#[unsafe(no_mangle)]
pub static NFFI_PYTHON_OWNER_V1: AtomicPtr<c_char> = AtomicPtr::new(ptr::null_mut());

/// From now on the interpreter is this copy's; an error where it is another one's. May be called
/// again. Runs on: any thread.
pub fn claim() -> Result<(), String> {
    let own = own_name()?.as_ptr().cast_mut();
    let owner = match mark().compare_exchange(ptr::null_mut(), own, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => return Ok(()),
        Err(owner) if owner == own => return Ok(()),
        Err(owner) => owner,
    };
    // SAFETY: a copy's own name, which it keeps, as it stays in the process.
    let owner = unsafe { CStr::from_ptr(owner) }.to_string_lossy();
    Err(format!(
        "{} is another copy of {owner}, which has the interpreter of this process already. Name one file in all Python \
         runtimes (links to it will do); if the file was replaced, reload nginx",
        own_name()?.to_string_lossy()
    ))
}

/// No interpreter was started: another copy may.
pub fn release() {
    if let Ok(own) = own_name() {
        let own = own.as_ptr().cast_mut();
        // Where it is another's it stays so.
        let _ = mark().compare_exchange(own, ptr::null_mut(), Ordering::AcqRel, Ordering::Relaxed);
    }
}

/// Where this library lies, as it was named when it was loaded.
pub fn here() -> Result<PathBuf, String> {
    Ok(PathBuf::from(OsStr::from_bytes(own_name()?.to_bytes())))
}

fn own_name() -> Result<&'static CStr, String> {
    static NAME: OnceLock<CString> = OnceLock::new();
    if let Some(name) = NAME.get() {
        return Ok(name);
    }
    // SAFETY: the structure is filled in by dladdr, which is given an address in this library.
    let name = unsafe {
        let mut info: libc::Dl_info = std::mem::zeroed();
        if libc::dladdr((&raw const NFFI_PYTHON_OWNER_V1).cast(), &mut info) == 0 {
            return Err("cannot find out where this library lies".into());
        }
        CStr::from_ptr(info.dli_fname).to_owned()
    };
    Ok(NAME.get_or_init(|| name))
}

/// Of the first copy: libraries are listed as they were loaded.
fn mark() -> &'static AtomicPtr<c_char> {
    let others = loaded().into_iter().find_map(|name| {
        // SAFETY: nothing is loaded: it is there already, or an error. A copy stays, with its mark.
        unsafe {
            let library =
                Library::open(Some(OsStr::from_bytes(name.to_bytes())), RTLD_LAZY | libc::RTLD_NOLOAD).ok()?;
            Some(*library.get::<&'static AtomicPtr<c_char>>(MARK).ok()?)
        }
    });
    others.unwrap_or(&NFFI_PYTHON_OWNER_V1)
}

/// The names of this process's libraries. The program itself has none.
fn loaded() -> Vec<CString> {
    unsafe extern "C" fn add(info: *mut libc::dl_phdr_info, _: usize, names: *mut c_void) -> c_int {
        // SAFETY: what dl_iterate_phdr gives, and the list below.
        unsafe {
            let (name, names) = ((*info).dlpi_name, &mut *names.cast::<Vec<CString>>());
            if !name.is_null() && *name != 0 {
                names.push(CStr::from_ptr(name).to_owned());
            }
        }
        0
    }
    let mut names = Vec::new();
    // SAFETY: add has the type that is asked for, and the list lives during the call.
    unsafe { libc::dl_iterate_phdr(Some(add), (&raw mut names).cast()) };
    names
}
