//! Errors of handlers: what the caller gets to see.

use std::{any::Any, error::Error as StdError, fmt};

/// The status of an error that does not bring its own.
pub const FAILED: i32 = 1;

/// An error with a status of its own, which Lua gets beside the message:
///
/// ```
/// #[derive(Debug)]
/// enum Missing {
///     Nobody(String),
/// }
///
/// impl From<Missing> for nffi::Error {
///     fn from(Missing::Nobody(name): Missing) -> Self {
///         nffi::Error::new(404, format!("nobody of the name {name}"))
///     }
/// }
///
/// let error = nffi::Error::from(Missing::Nobody("Ann".to_owned()));
/// assert_eq!((error.status(), error.to_string().as_str()), (404, "nobody of the name Ann"));
/// ```
///
/// A handler may return any error that is `Display`; its status is then 1. An `nffi::Error` in a
/// `Box<dyn std::error::Error>` (with or without `Send` and `Sync`) keeps its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    status: i32,
    message: String,
}

impl Error {
    /// An error of that status. 0 would say "no error", and becomes 1.
    pub fn new(status: i32, message: impl Into<String>) -> Self {
        Self { status: if status == 0 { FAILED } else { status }, message: message.into() }
    }

    /// What the caller gets as the third result; never 0.
    pub fn status(&self) -> i32 {
        self.status
    }

    /// What the caller gets as the second result.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Of any error of a handler.
    pub(crate) fn of<E: fmt::Display + 'static>(error: &E) -> Self {
        let any: &dyn Any = error;
        let known = any
            .downcast_ref::<Self>()
            .or_else(|| any.downcast_ref::<Box<dyn StdError>>()?.downcast_ref())
            .or_else(|| any.downcast_ref::<Box<dyn StdError + Send>>()?.downcast_ref())
            .or_else(|| any.downcast_ref::<Box<dyn StdError + Send + Sync>>()?.downcast_ref());
        match known {
            Some(known) => known.clone(),
            // The alternate form is the one in which errors that have causes (anyhow's) tell them.
            None => Self::new(FAILED, format!("{error:#}")),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {}

impl From<String> for Error {
    fn from(message: String) -> Self {
        Self::new(FAILED, message)
    }
}

impl From<&str> for Error {
    fn from(message: &str) -> Self {
        Self::new(FAILED, message)
    }
}

impl From<Box<dyn StdError>> for Error {
    fn from(error: Box<dyn StdError>) -> Self {
        Self::of(&error)
    }
}

impl From<Box<dyn StdError + Send + Sync>> for Error {
    fn from(error: Box<dyn StdError + Send + Sync>) -> Self {
        Self::of(&error)
    }
}

/// Errors of the standard library that handlers pass on with `?`.
macro_rules! plain {
    ($($error:ty),*) => {$(
        impl From<$error> for Error {
            fn from(error: $error) -> Self {
                Self::new(FAILED, error.to_string())
            }
        }
    )*};
}

plain!(
    std::io::Error,
    std::fmt::Error,
    std::num::ParseFloatError,
    std::num::ParseIntError,
    std::str::Utf8Error,
    std::string::FromUtf8Error,
    serde_json::Error
);

/// The caller of a stream has gone, or the runtime is stopping: there is no point in going on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the caller has gone")
    }
}

impl StdError for Gone {}

impl From<Gone> for Error {
    fn from(gone: Gone) -> Self {
        Self::new(FAILED, gone.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses() {
        assert_eq!(Error::of(&"plain"), Error::new(1, "plain"));
        assert_eq!(Error::of(&Error::new(404, "none")), Error::new(404, "none"));
        let boxed: Box<dyn StdError + Send + Sync> = Box::new(Error::new(503, "busy"));
        assert_eq!(Error::of(&boxed), Error::new(503, "busy"));
        let boxed: Box<dyn StdError> = "text".into();
        assert_eq!(Error::of(&boxed), Error::new(1, "text"));
        let boxed: Box<dyn StdError> = Box::new(Error::new(-7, "odd"));
        assert_eq!(Error::of(&boxed), Error::new(-7, "odd"));
    }

    #[test]
    fn an_error_is_never_a_success() {
        assert_eq!(Error::new(0, "x").status(), 1);
    }
}
