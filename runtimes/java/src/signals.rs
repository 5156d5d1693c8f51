//! The one signal that the JVM would take from nginx despite -Xrs: USR2, with which it samples threads. Its handler
//! crashes on a thread that is not Java's, and `pkill -USR2 nginx` reaches workers, too.

use std::{
    env,
    ffi::{CStr, c_char},
    mem, ptr,
};

unsafe extern "C" {
    static mut environ: *mut *mut c_char;
}

/// A real-time signal, which nobody else uses. The JVM reads this when it starts, and from nowhere else.
const VARIABLE: &CStr = c"_JAVA_SR_SIGNUM=40";
const NAME: &str = "_JAVA_SR_SIGNUM";

/// While it lives, the environment has VARIABLE.
pub struct OtherThanUsr2 {
    ours: *mut *mut c_char,
    before: *mut *mut c_char,
}

impl OtherThanUsr2 {
    /// The event loop may be reading the environment: setenv could free what it looks at. So a new array is put in
    /// place of the old one, which stays as it is.
    pub fn new() -> Self {
        let nothing = Self { ours: ptr::null_mut(), before: ptr::null_mut() };
        if env::var_os(NAME).is_some() {
            return nothing;
        }
        // SAFETY: environ is NULL or an array that ends with NULL; whoever changes it does so by setenv, on this
        // thread or before it was started.
        unsafe {
            let before = environ;
            let mut all = vec![VARIABLE.as_ptr().cast_mut()];
            let mut at = before;
            while !at.is_null() && !(*at).is_null() {
                all.push(*at);
                at = at.add(1);
            }
            all.push(ptr::null_mut());
            // Never freed: a reader may hold it for a moment longer.
            let ours = mem::ManuallyDrop::new(all).as_mut_ptr();
            environ = ours;
            Self { ours, before }
        }
    }
}

impl Drop for OtherThanUsr2 {
    fn drop(&mut self) {
        // SAFETY: the array that was there; programs that Java starts need not see ours.
        unsafe {
            if !self.ours.is_null() && environ == self.ours {
                environ = self.before;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_while_it_lives() {
        assert_eq!(env::var_os(NAME), None);
        let path = env::var_os("PATH");
        let guard = OtherThanUsr2::new();
        assert_eq!(env::var_os(NAME), Some("40".into()));
        assert_eq!(env::var_os("PATH"), path);
        drop(guard);
        assert_eq!(env::var_os(NAME), None);
        assert_eq!(env::var_os("PATH"), path);
    }
}
