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
        let file =
            File::from(rustix::fs::open(path, flags, Mode::empty()).map_err(io::Error::from)?);
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

#[cfg(test)]
mod tests {
    use std::{fs, io};

    use super::{Half, HalfError, Key, KeyError, LIMIT, Secret};

    const KEY: &[u8] = b"VGhpcyBpcyBAICQzY3IzdCBrZXk=\n";

    fn read(content: &[u8]) -> Result<Half, HalfError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("half");
        fs::write(&path, content).unwrap();
        Half::read(&path)
    }

    #[test]
    fn one_trailing_newline_is_dropped_and_nothing_else() {
        let table: [(&[u8], &[u8]); 9] = [
            (b"-acknowledge", b"-acknowledge"),
            (b"-acknowledge\n", b"-acknowledge"),
            (b"-acknowledge\r\n", b"-acknowledge"),
            (b"-acknowledge\n\n", b"-acknowledge\n"),
            (b"-acknowledge\r", b"-acknowledge\r"),
            (b"-acknowledge ", b"-acknowledge "),
            (b"\n-acknowledge", b"\n-acknowledge"),
            (b" \n", b" "),
            (b"\xff\xfe\x00\n", b"\xff\xfe\x00"),
        ];
        for (content, expected) in table {
            assert_eq!(&*read(content).ok().unwrap().0, expected, "{content:?}");
        }
    }

    #[test]
    fn a_half_of_nothing_is_told_apart_from_a_missing_one() {
        for content in [b"".as_slice(), b"\n", b"\r\n"] {
            assert_eq!(read(content).err(), Some(HalfError::Empty), "{content:?}");
        }
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Half::read(&folder.path().join("half")).err(), Some(HalfError::Missing));
    }

    #[test]
    fn the_limit_is_64_kib_to_the_byte() {
        assert_eq!(read(&vec![b'x'; LIMIT]).ok().unwrap().0.len(), LIMIT);
        assert_eq!(read(&vec![b'x'; LIMIT + 1]).err(), Some(HalfError::TooLarge));
    }

    #[test]
    fn a_directory_a_fifo_and_a_device_are_refused_without_reading() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Half::read(folder.path()).err(), Some(HalfError::NotAFile));
        let fifo = folder.path().join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
        assert!(made.success());
        assert_eq!(Half::read(&fifo).err(), Some(HalfError::NotAFile));
        assert_eq!(Half::read("/dev/zero".as_ref()).err(), Some(HalfError::NotAFile));
    }

    /// Between a look at the name and its opening, another file may take it.
    #[test]
    fn a_fifo_that_takes_the_files_place_at_any_moment_blocks_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let [half, fifo, spare] = ["half", "fifo", "spare"].map(|name| folder.path().join(name));
        fs::write(&half, "x").unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let (done, reads) = std::sync::mpsc::channel();
        let path = half.clone();
        std::thread::spawn(move || {
            let mut kinds = [0; 2];
            while kinds.iter().any(|seen| *seen < 100) {
                match Half::read(&path) {
                    Ok(_) => kinds[0] += 1,
                    Err(HalfError::NotAFile) => kinds[1] += 1,
                    Err(error) => assert_eq!(error, HalfError::Missing),
                }
            }
            done.send(()).unwrap();
        });
        let began = std::time::Instant::now();
        while reads.try_recv().is_err() {
            assert!(began.elapsed().as_secs() < 60, "a read blocks");
            // The file and the FIFO change places.
            for (from, to) in [(&half, &spare), (&fifo, &half), (&spare, &fifo)] {
                fs::rename(from, to).unwrap();
            }
        }
    }

    #[test]
    fn errors_of_the_file_system_keep_their_kind() {
        use std::io::ErrorKind;
        assert_eq!(
            HalfError::from(io::Error::from(ErrorKind::PermissionDenied)),
            HalfError::Denied
        );
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "x").unwrap();
        let below = Half::read(&file.join("half")).err();
        assert_eq!(below, Some(HalfError::Unreadable(ErrorKind::NotADirectory)));
    }

    #[test]
    fn the_secret_is_the_base64_of_key_and_half() {
        let key = Key::decode(KEY).ok().unwrap();
        let secret = Secret::join(&key, &read(b"-acknowledge\n").ok().unwrap());
        assert_eq!(&*secret.into_body(), b"VGhpcyBpcyBAICQzY3IzdCBrZXktYWNrbm93bGVkZ2U=");
    }

    #[test]
    fn bytes_that_are_no_text_are_joined_as_they_are() {
        let key = Key::decode(b"//79\n").ok().unwrap();
        let secret = Secret::join(&key, &read(b"\x00\xff").ok().unwrap());
        assert_eq!(&*secret.into_body(), b"//79AP8=");
    }

    #[test]
    fn what_is_no_key_is_refused_with_its_reason() {
        let oversized = vec![b'A'; LIMIT + 4];
        let table: [(&[u8], KeyError); 6] = [
            (b"", KeyError::Empty),
            (b"\n", KeyError::Empty),
            (b"<html>", KeyError::NotBase64),
            (b"VGhpcyBpcyBAICQzY3IzdCBrZXk\n", KeyError::NotBase64),
            (b"__79\n", KeyError::NotBase64),
            (&oversized, KeyError::TooLarge),
        ];
        for (body, problem) in table {
            assert_eq!(Key::decode(body).err(), Some(problem));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_as_a_key_are_an_answer_and_no_panic(body: Vec<u8>) {
            let _ = Key::decode(&body);
        }

        #[test]
        fn any_two_halves_come_out_joined(
            key in proptest::collection::vec(proptest::prelude::any::<u8>(), 1..200),
            half in proptest::collection::vec(proptest::prelude::any::<u8>(), 1..200),
        ) {
            use base64::Engine as _;
            let engine = base64::engine::general_purpose::STANDARD;
            let decoded = Key::decode(engine.encode(&key).as_bytes()).ok().unwrap();
            let body = Secret::join(&decoded, &Half(half.clone().into())).into_body();
            let expected = [key, half].concat();
            proptest::prop_assert_eq!(engine.decode(&body).unwrap(), expected);
        }
    }
}
