//! What functions take and return, for the attribute [`handler`](crate::handler).

use std::{borrow::Cow, fmt::Display, ops::Deref, sync::Arc};

use crate::{Error, Task};

/// What a function may take. `R` is the kind of request: [`crate::Request`] or, for an async
/// function, [`crate::aio::Request`].
#[diagnostic::on_unimplemented(
    message = "a handler cannot take `{Self}`",
    note = "it may take the request as `&[u8]`, `&str`, `Vec<u8>` or `String`, or a `&nffi::Request` (`&nffi::aio::Request` in an async fn)"
)]
pub trait Argument<'a, R>: Sized {
    /// Must the whole request be there first, also where it comes in pieces?
    const WHOLE: bool;

    /// The argument, or why the request is none.
    fn of(request: &'a R) -> Result<Self, Error>;
}

impl<'a, R: Deref<Target = Task>> Argument<'a, R> for &'a [u8] {
    const WHOLE: bool = true;

    fn of(request: &'a R) -> Result<Self, Error> {
        Ok(request.data())
    }
}

impl<'a, R: Deref<Target = Task>> Argument<'a, R> for &'a str {
    const WHOLE: bool = true;

    fn of(request: &'a R) -> Result<Self, Error> {
        std::str::from_utf8(request.data()).map_err(|error| Error::new(400, format!("the request is no text: {error}")))
    }
}

impl<'a, R: Deref<Target = Task>> Argument<'a, R> for Vec<u8> {
    const WHOLE: bool = true;

    fn of(request: &'a R) -> Result<Self, Error> {
        Ok(request.data().to_vec())
    }
}

impl<'a, R: Deref<Target = Task>> Argument<'a, R> for String {
    const WHOLE: bool = true;

    fn of(request: &'a R) -> Result<Self, Error> {
        <&str>::of(request).map(str::to_owned)
    }
}

impl<'a> Argument<'a, crate::Request> for &'a crate::Request {
    const WHOLE: bool = false;

    fn of(request: &'a crate::Request) -> Result<Self, Error> {
        Ok(request)
    }
}

#[cfg(feature = "async")]
impl<'a> Argument<'a, crate::aio::Request> for &'a crate::aio::Request {
    const WHOLE: bool = false;

    fn of(request: &'a crate::aio::Request) -> Result<Self, Error> {
        Ok(request)
    }
}

/// What an answer may be.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no answer",
    note = "an answer is bytes or text: `Vec<u8>`, `String`, `&'static str`, `Cow`, `Arc<[u8]>`, `[u8; N]` ..., or `()` for none"
)]
pub trait Answer {
    /// The answer's bytes.
    fn into_vec(self) -> Vec<u8>;
}

macro_rules! answers {
    ($($answer:ty: $self:ident => $vec:expr),* $(,)?) => {$(
        impl Answer for $answer {
            fn into_vec($self) -> Vec<u8> {
                $vec
            }
        }
    )*};
}

answers!(
    Vec<u8>: self => self,
    Box<[u8]>: self => self.into_vec(),
    Arc<[u8]>: self => self.to_vec(),
    &'static [u8]: self => self.to_vec(),
    Cow<'static, [u8]>: self => self.into_owned(),
    String: self => self.into_bytes(),
    Box<str>: self => self.into_string().into_bytes(),
    Arc<str>: self => self.as_bytes().to_vec(),
    &'static str: self => self.as_bytes().to_vec(),
    Cow<'static, str>: self => self.into_owned().into_bytes(),
    (): self => Vec::new(),
);

impl<const N: usize> Answer for [u8; N] {
    fn into_vec(self) -> Vec<u8> {
        self.to_vec()
    }
}

/// What a function may return: an answer, or a `Result` of one with any error that is `Display`.
pub trait Outcome {
    /// As a [`Service`](crate::Service) returns it.
    fn into_result(self) -> Result<Vec<u8>, Error>;
}

impl<A: Answer> Outcome for A {
    fn into_result(self) -> Result<Vec<u8>, Error> {
        Ok(self.into_vec())
    }
}

impl<A: Answer, E: Display + 'static> Outcome for Result<A, E> {
    fn into_result(self) -> Result<Vec<u8>, Error> {
        self.map(A::into_vec).map_err(|error| Error::of(&error))
    }
}
