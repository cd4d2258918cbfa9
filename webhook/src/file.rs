//! Files that somebody else keeps: certificates, keys, CAs.

use std::io;
use std::path::Path;

use rustix::fs::OFlags;
use tokio::io::AsyncReadExt as _;
use zeroize::Zeroizing;

/// What is in a file; overwritten when dropped, as it may be a key.
pub(crate) type Content = Zeroizing<Vec<u8>>;

/// Reads a regular file of at most `most` bytes. Anything else is not even waited for: to open a FIFO
/// takes until somebody writes to it, in a thread that no time limit and no shutdown reaches.
pub(crate) async fn read(path: &Path, most: usize) -> io::Result<Content> {
    let mut options = tokio::fs::OpenOptions::new();
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).map_err(io::Error::other)?;
    let file = options.read(true).custom_flags(flags).open(path).await?;
    if !file.metadata().await?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut content = Content::default();
    file.take(most as u64 + 1).read_to_end(&mut content).await?;
    if content.len() > most {
        return Err(io::Error::other(format!("larger than {most} bytes")));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_regular_files_of_a_reasonable_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("small"), "content").unwrap();
        std::fs::write(path("large"), "content.").unwrap();
        std::os::unix::fs::symlink(path("small"), path("link")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, path("fifo"), rustix::fs::Mode::RUSR).unwrap();
        for (name, expected) in [
            ("small", Ok("content")),
            ("link", Ok("content")),
            ("large", Err("larger than 7 bytes")),
            ("fifo", Err("not a regular file")),
            (".", Err("not a regular file")),
        ] {
            let found = read(&path(name), 7).await.map_err(|error| error.to_string());
            let found = found.as_ref().map(|content| std::str::from_utf8(content).unwrap());
            assert_eq!(found.map_err(String::as_str), expected, "{name}");
        }
        assert!(read(&path("none"), 7).await.is_err());
    }
}
