//! Files as answers, sent by the kernel.

use std::{fs, io, os::fd::OwnedFd, path::Path, sync::Arc};

use http::{HeaderValue, Response, header::CONTENT_LENGTH};

/// A file, or a part of one, as an answer's whole body: nginx sends it by `sendfile`, so that its bytes
/// do not go through the app.
///
/// ```
/// # async fn file() -> std::io::Result<http::Response<String>> {
/// let mut response: http::Response<String> = nffi::http::File::open("/srv/movie.mp4").await?.into_response();
/// response.headers_mut().insert("content-type", http::HeaderValue::from_static("video/mp4"));
/// # Ok(response)
/// # }
/// ```
///
/// It is an extension of a response, whose own body is not looked at: layers that change bodies do not
/// see it. The file must not shrink meanwhile. With the feature `axum` handlers may return it.
#[derive(Debug, Clone)]
pub struct File {
    file: Arc<fs::File>,
    offset: u64,
    length: u64,
}

impl File {
    /// Opens a regular file.
    ///
    /// Runs on: a tokio runtime, whose threads for blocking calls do the work.
    pub async fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref().to_owned();
        tokio::task::spawn_blocking(move || Self::from_std(fs::File::open(path)?)).await.map_err(io::Error::other)?
    }

    /// A whole file that is open; a regular one.
    pub fn from_std(file: fs::File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Self { file: Arc::new(file), offset: 0, length: metadata.len() })
    }

    /// Of this part, so many bytes from there; as far as there are any.
    #[must_use]
    pub fn part(mut self, offset: u64, length: u64) -> Self {
        self.offset += offset.min(self.length);
        self.length = length.min(self.length.saturating_sub(offset));
        self
    }

    /// How many bytes are sent.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// An answer of status 200 with the file's length; its type is the app's to say.
    pub fn into_response<B: Default>(self) -> Response<B> {
        let mut response = Response::new(B::default());
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(self.length));
        response.extensions_mut().insert(self);
        response
    }

    /// A descriptor for the host; offset and length.
    pub(super) fn descriptor(&self) -> io::Result<(OwnedFd, i64, i64)> {
        let signed = |n: u64| i64::try_from(n).map_err(io::Error::other);
        Ok((self.file.try_clone()?.into(), signed(self.offset)?, signed(self.length)?))
    }
}

#[cfg(feature = "axum")]
impl axum::response::IntoResponse for File {
    fn into_response(self) -> axum::response::Response {
        Self::into_response(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let file = File { file: Arc::new(fs::File::open("/proc/self/exe").unwrap()), offset: 0, length: 10 };
        let part = |offset, length| {
            let part = file.clone().part(offset, length);
            (part.offset, part.length)
        };
        assert_eq!(part(2, 3), (2, 3));
        assert_eq!(part(2, 30), (2, 8));
        assert_eq!(part(20, 3), (10, 0));
        assert_eq!(file.clone().part(2, 6).part(1, 2).offset, 3);
        assert!(File::from_std(fs::File::open("/").unwrap()).is_err());
    }
}
