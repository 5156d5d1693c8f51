//! A value that the GIL guards.

use std::cell::{RefCell, RefMut};

use pyo3::Python;

/// No Python code may run while it is borrowed: that could want it, too. So what is taken out of it
/// is dropped after.
#[derive(Default)]
pub struct Gil<T>(RefCell<T>);

// SAFETY: whoever reaches into it shows that it has the GIL, which one thread has at a time.
unsafe impl<T> Sync for Gil<T> {}
// SAFETY: as above; and what is in it is dropped where Python objects are, by whoever has the GIL.
unsafe impl<T> Send for Gil<T> {}

impl<T> Gil<T> {
    pub fn new(value: T) -> Self {
        Self(RefCell::new(value))
    }

    pub fn borrow(&self, _: Python<'_>) -> RefMut<'_, T> {
        self.0.borrow_mut()
    }
}
