//! The two halves and their sum. None of these types can be printed, compared or copied, and each
//! wipes its memory when it is dropped.
//!
//! What the types cannot reach, they cannot wipe: the buffers of the kernel and those in which hyper
//! reads the key and writes the request. Those hold a secret for the length of one request, as long
//! as Legacy itself does.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use zeroize::Zeroizing;

/// The most bytes that a file with the operations half, or Legacy's answer with its key, may have: 64 KiB.
pub const LIMIT: usize = 64 * 1024;

/// The operations half: the bytes of the file, without one trailing newline.
///
/// ```compile_fail,E0277
/// fn print(half: &sidecar::secret::Half) { println!("{half:?}") }
/// ```
pub struct Half(Zeroizing<Vec<u8>>);

/// Why the file is no operations half.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HalfError {
    /// There is no such file.
    #[error("is missing: there is no such file")]
    Missing,
    /// Nothing is in it, a trailing newline aside.
    #[error("is empty")]
    Empty,
    /// More than [`LIMIT`] bytes.
    #[error("is larger than 64 KiB")]
    TooLarge,
    /// A directory, a FIFO, a device or a socket: reading one of those may never end.
    #[error("is not a regular file")]
    NotAFile,
    /// The file's mode or owner forbids reading it.
    #[error("cannot be read: permission denied")]
    Denied,
    /// Any other error of the file system.
    #[error("cannot be read: {0}")]
    Unreadable(io::ErrorKind),
}

impl From<io::Error> for HalfError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            io::ErrorKind::PermissionDenied => Self::Denied,
            other => Self::Unreadable(other),
        }
    }
}

impl Half {
    /// Reads the half, at most [`LIMIT`] bytes. One trailing newline (LF or CRLF), which editors and
    /// `echo` leave behind, is dropped; every other byte counts.
    ///
    /// # Errors
    /// When the path is not a regular file, cannot be read, is too large, or holds nothing.
    pub fn read(path: &Path) -> Result<Self, HalfError> {
        // Opening a FIFO would block until somebody writes to it. What is open is looked at, and not what
        // has the name: another file may have it a moment later.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|error| match error {
            // What opening a socket ends with.
            Errno::NXIO => HalfError::NotAFile,
            error => io::Error::from(error).into(),
        })?;
        let file = File::from(file);
        let about = file.metadata()?;
        if !about.is_file() {
            return Err(HalfError::NotAFile);
        }
        // All the room at once: a buffer that grows leaves its old self behind, unwiped.
        let expected = usize::try_from(about.len()).unwrap_or(LIMIT).min(LIMIT);
        let mut bytes = Zeroizing::new(Vec::with_capacity(expected + 1));
        file.take(LIMIT as u64 + 1).read_to_end(&mut bytes)?;
        if bytes.len() > LIMIT {
            return Err(HalfError::TooLarge);
        }
        if bytes.ends_with(b"\n") {
            bytes.pop();
            if bytes.ends_with(b"\r") {
                bytes.pop();
            }
        }
        if bytes.is_empty() {
            return Err(HalfError::Empty);
        }
        Ok(Self(bytes))
    }
}

/// Legacy's half, decoded.
///
/// ```compile_fail,E0277
/// fn print(key: &sidecar::secret::Key) { println!("{key:?}") }
/// ```
pub struct Key(Zeroizing<Vec<u8>>);

/// Why Legacy's answer is not a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not the standard base64 alphabet with padding.
    #[error("the answer is not base64")]
    NotBase64,
    /// An answer with nothing in it.
    #[error("the answer is empty")]
    Empty,
    /// More than [`LIMIT`] bytes.
    #[error("the answer is larger than 64 KiB")]
    TooLarge,
}

impl Key {
    /// Decodes the body of Legacy's answer: base64, with white space around it (Legacy ends it with a
    /// newline).
    ///
    /// # Errors
    /// When it is not base64, decodes to nothing, or is larger than [`LIMIT`].
    pub fn decode(body: &[u8]) -> Result<Self, KeyError> {
        if body.len() > LIMIT {
            return Err(KeyError::TooLarge);
        }
        let text = body.trim_ascii();
        let mut bytes = Zeroizing::new(vec![0; text.len() / 4 * 3 + 3]);
        let length = STANDARD.decode_slice(text, &mut bytes).map_err(|_| KeyError::NotBase64)?;
        if length == 0 {
            return Err(KeyError::Empty);
        }
        bytes.truncate(length);
        Ok(Self(bytes))
    }
}

/// The full secret, as Legacy wants to be told it: the base64 of key and half, no newline.
///
/// ```compile_fail,E0277
/// fn print(secret: &sidecar::secret::Secret) { println!("{secret:?}") }
/// ```
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Joins Legacy's key and the operations half, in this order.
    #[must_use]
    pub fn join(key: &Key, half: &Half) -> Self {
        let mut joined = Zeroizing::new(Vec::with_capacity(key.0.len() + half.0.len()));
        joined.extend_from_slice(&key.0);
        joined.extend_from_slice(&half.0);
        let mut text = Zeroizing::new(vec![0; joined.len().div_ceil(3) * 4]);
        // The room is exact, so this cannot fail; if it did, Legacy would refuse the zeros.
        let written = STANDARD.encode_slice(&*joined, &mut text).unwrap_or(0);
        text.truncate(written);
        Self(text)
    }

    /// The body of the request. Its memory is wiped when the last clone of the body is dropped.
    #[must_use]
    pub fn into_body(self) -> Bytes {
        Bytes::from_owner(self.0)
    }
}
