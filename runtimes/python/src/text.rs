//! Messages for C callers, and from them.

use std::any::Any;

/// The text before the first NUL.
pub fn of_buffer(buffer: &[u8]) -> String {
    let end = buffer.iter().position(|byte| *byte == 0).unwrap_or(buffer.len());
    String::from_utf8_lossy(&buffer[..end]).into_owned()
}

/// What a caught panic said.
pub fn of_panic(panic: &(dyn Any + Send)) -> String {
    format!("panicked: {}", nffi_abi::panic_text(panic))
}

#[cfg(test)]
mod tests {
    use nffi_abi::put_message;

    use super::*;

    #[test]
    fn a_message_that_does_not_fit_is_cut_between_characters() {
        let mut room = [0xffu8; 4];
        // SAFETY: four bytes are there.
        unsafe { put_message(room.as_mut_ptr().cast(), 4, "aéé") };
        assert_eq!(of_buffer(&room), "aé");
        // SAFETY: no room, and none is used.
        unsafe { put_message(std::ptr::null_mut(), 9, "x") };
    }

    #[test]
    fn a_panic_says_what_it_was() {
        let panic = std::panic::catch_unwind(|| panic!("so {}", 1)).expect_err("it panics");
        assert_eq!(of_panic(&*panic), "panicked: so 1");
    }
}
