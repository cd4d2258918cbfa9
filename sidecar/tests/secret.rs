//! The half, the key and their sum.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is how a test fails")]

use std::{fs, io};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sidecar::secret::{Half, HalfError, Key, KeyError, LIMIT, Secret};

const KEY: &[u8] = b"VGhpcyBpcyBAICQzY3IzdCBrZXk=\n";

fn read(content: &[u8]) -> Result<Half, HalfError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("half");
    fs::write(&path, content).unwrap();
    Half::read(&path)
}

/// The bytes of a half, which only its sum with a key gives away.
fn bytes(half: &Half) -> Vec<u8> {
    let key = Key::decode(b"AAAA").ok().unwrap();
    STANDARD.decode(Secret::join(&key, half).into_body()).unwrap().split_off(3)
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
        assert_eq!(bytes(&read(content).ok().unwrap()), expected, "{content:?}");
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
    assert_eq!(bytes(&read(&vec![b'x'; LIMIT]).ok().unwrap()).len(), LIMIT);
    assert_eq!(read(&vec![b'x'; LIMIT + 1]).err(), Some(HalfError::TooLarge));
}

#[test]
fn a_directory_a_fifo_a_socket_and_a_device_are_refused_without_reading() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(Half::read(folder.path()).err(), Some(HalfError::NotAFile));
    let fifo = folder.path().join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    assert_eq!(Half::read(&fifo).err(), Some(HalfError::NotAFile));
    let socket = folder.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert_eq!(Half::read(&socket).err(), Some(HalfError::NotAFile));
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
    assert_eq!(HalfError::from(io::Error::from(ErrorKind::PermissionDenied)), HalfError::Denied);
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
        let decoded = Key::decode(STANDARD.encode(&key).as_bytes()).ok().unwrap();
        // With the one newline that is dropped.
        let read = read(&[half.as_slice(), b"\n"].concat()).ok().unwrap();
        let body = Secret::join(&decoded, &read).into_body();
        let (expected, half_ends_so) = ([key, half.clone()].concat(), half.ends_with(b"\r"));
        proptest::prop_assume!(!half_ends_so);
        proptest::prop_assert_eq!(STANDARD.decode(&body).unwrap(), expected);
    }
}
