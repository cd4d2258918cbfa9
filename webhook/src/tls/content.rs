//! Files, read again and again and compared by content: a kubelet swaps a directory's symbolic link,
//! which a watch on the files does not see.

use std::path::PathBuf;
use std::time::Duration;

use certs::certificate::MAX_PEM;
use sha2::{Digest as _, Sha256};
use tokio::time::{Interval, MissedTickBehavior};

use crate::file::{self, Content};

/// Files that were swapped between two reads are read again, so often at most.
const READS: usize = 4;

/// What a look at the files showed.
#[derive(Debug)]
pub(crate) enum Look<const N: usize> {
    /// The same as the last one: content or problem.
    Unchanged,
    /// Another problem than before.
    Unreadable(String),
    /// Other content than before.
    New([Content; N]),
}

/// Files that belong together. Of what was last seen only a hash is kept: one of them may be a key.
#[derive(Debug)]
pub(crate) struct Files<const N: usize> {
    paths: [PathBuf; N],
    seen: Option<Result<[u8; 32], String>>,
}

impl<const N: usize> Files<N> {
    /// Files that were not looked at yet.
    #[must_use]
    pub(crate) fn new(paths: [PathBuf; N]) -> Self {
        Self { paths, seen: None }
    }

    /// For messages.
    #[must_use]
    pub(crate) fn names(&self) -> String {
        self.paths.each_ref().map(|path| path.display().to_string()).join(" and ")
    }

    /// Reads all of them.
    pub(crate) async fn look(&mut self) -> Look<N> {
        let read = self.read_all().await;
        let seen = match &read {
            Ok(contents) => Ok(hash(contents)),
            Err(reason) => Err(reason.clone()),
        };
        if self.seen.as_ref() == Some(&seen) {
            return Look::Unchanged;
        }
        self.seen = Some(seen);
        match read {
            Ok(contents) => Look::New(contents),
            Err(reason) => Look::Unreadable(reason),
        }
    }

    /// All of them, as they are at one time: two reads in a row must agree.
    async fn read_all(&self) -> Result<[Content; N], String> {
        let mut before = self.read_each().await?;
        for _ in 1..READS {
            let now = self.read_each().await?;
            if now == before {
                return Ok(now);
            }
            before = now;
        }
        Err(format!("{} are changing all the time", self.names()))
    }

    async fn read_each(&self) -> Result<[Content; N], String> {
        let mut contents = std::array::from_fn(|_| Content::default());
        for (content, path) in contents.iter_mut().zip(&self.paths) {
            *content = file::read(path, MAX_PEM)
                .await
                .map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(contents)
    }
}

/// Every so often, the first time at once.
pub(super) fn ticks(every: Duration) -> Interval {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

fn hash<const N: usize>(contents: &[Content; N]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for content in contents {
        hash.update(content.len().to_le_bytes());
        hash.update(content);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_change_of_content_is_new() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a", "b"].map(|name| folder.path().join(name));
        let mut files = Files::new(paths.clone());

        assert!(matches!(files.look().await, Look::Unreadable(reason) if reason.contains("/a: ")));
        assert!(matches!(files.look().await, Look::Unchanged));
        std::fs::write(&paths[0], "one").unwrap();
        assert!(matches!(files.look().await, Look::Unreadable(reason) if reason.contains("/b: ")));
        std::fs::write(&paths[1], "two").unwrap();
        assert!(matches!(files.look().await, Look::New([a, b]) if *a == b"one" && *b == b"two"));
        std::fs::write(&paths[1], "two").unwrap();
        assert!(matches!(files.look().await, Look::Unchanged));
        // What moves from one file to the other is a change as well.
        std::fs::write(&paths[0], "onet").unwrap();
        std::fs::write(&paths[1], "wo").unwrap();
        assert!(matches!(files.look().await, Look::New(_)));
        std::fs::remove_file(&paths[0]).unwrap();
        assert!(matches!(files.look().await, Look::Unreadable(_)));
    }

    #[tokio::test]
    async fn a_huge_file_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("huge");
        std::fs::write(&path, vec![b'x'; MAX_PEM + 1]).unwrap();
        let look = Files::new([path]).look().await;
        assert!(matches!(look, Look::Unreadable(reason) if reason.contains("larger than")));
    }
}
