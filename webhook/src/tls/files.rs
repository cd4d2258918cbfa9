//! Certificates from files, as cert-manager, Vault and the kubelet keep them. They are read again and
//! again and compared by content: a kubelet swaps a directory's symbolic link, which a watch on the
//! files does not see.

use std::path::PathBuf;
use std::time::Duration;

use certs::certificate::{MAX_PEM, Validity};
use jiff::Timestamp;
use tokio::time::sleep;

use super::Refused;
use crate::admin::Condition;
use crate::file::{self, Content};

/// Hands the files' contents to `take` whenever they have changed. What it does not take is logged once;
/// what it took before stays in use. `condition` is met while that is valid.
pub(crate) async fn follow<const N: usize>(
    files: [PathBuf; N],
    every: Duration,
    condition: Condition,
    take: impl Fn(&[Content; N]) -> Result<Validity, Refused>,
) {
    let mut files = Files::new(files);
    let mut in_use: Option<Validity> = None;
    loop {
        match files.read_and(&take).await {
            None => {}
            Some(Ok(validity)) => in_use = Some(validity),
            Some(Err(problem)) if in_use.is_some() => {
                tracing::error!(problem, "new certificate refused, the old one stays");
            }
            Some(Err(problem)) => condition.unmet(problem),
        }
        match in_use {
            Some(validity) if validity.contains(Timestamp::now()) => condition.met(),
            Some(Validity { not_before, not_after }) => condition.unmet(format!(
                "the certificate in {} is valid from {not_before} to {not_after}, and not now",
                files.names()
            )),
            None => {}
        }
        sleep(every).await;
    }
}

/// Files that belong together, and what was last read from them: content, or a problem.
struct Files<const N: usize> {
    paths: [PathBuf; N],
    last: Option<Result<[Content; N], String>>,
}

impl<const N: usize> Files<N> {
    fn new(paths: [PathBuf; N]) -> Self {
        Self { paths, last: None }
    }

    fn names(&self) -> String {
        self.paths.each_ref().map(|path| path.display().to_string()).join(" and ")
    }

    /// Reads all of them, and if anything is not as it was before hands it to `take`. What can't be
    /// read or taken is a problem, in words.
    async fn read_and<T, E: std::fmt::Display>(
        &mut self,
        take: impl FnOnce(&[Content; N]) -> Result<T, E>,
    ) -> Option<Result<T, String>> {
        let read = self.read().await;
        // Files that are being swapped at this moment are left for the next time.
        if self.last.as_ref() == Some(&read) || self.read().await != read {
            return None;
        }
        let contents = self.last.insert(read).as_ref().map_err(Clone::clone);
        let taken = contents.map(take);
        Some(taken.and_then(|taken| taken.map_err(|error| format!("{}: {error}", self.names()))))
    }

    async fn read(&self) -> Result<[Content; N], String> {
        let mut contents = std::array::from_fn(|_| Content::default());
        for (content, path) in contents.iter_mut().zip(&self.paths) {
            *content = file::read(path, MAX_PEM)
                .await
                .map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(contents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_change_is_news() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a", "b"].map(|name| folder.path().join(name));
        let mut files = Files::new(paths.clone());
        let mut news = async || {
            let taken = |contents: &[Content; 2]| match contents.each_ref().map(|it| it.as_slice())
            {
                [b"bad", _] => Err("refused"),
                [one, other] => Ok(format!("{}+{}", one.escape_ascii(), other.escape_ascii())),
            };
            match files.read_and(taken).await {
                None => "none".to_owned(),
                Some(Ok(taken)) => taken,
                Some(Err(problem)) => problem.replace(folder.path().to_str().unwrap(), ""),
            }
        };
        let missing = "No such file or directory (os error 2)";
        assert_eq!(news().await, format!("/a: {missing}"));
        assert_eq!(news().await, "none");
        // What moves from one file to the other is a change as well.
        for (a, b, expected) in [
            ("one", None, format!("/b: {missing}")),
            ("one", Some("two"), "one+two".to_owned()),
            ("one", Some("two"), "none".to_owned()),
            ("onet", Some("wo"), "onet+wo".to_owned()),
            ("bad", Some("wo"), "/a and /b: refused".to_owned()),
            ("bad", Some("wo"), "none".to_owned()),
        ] {
            std::fs::write(&paths[0], a).unwrap();
            if let Some(b) = b {
                std::fs::write(&paths[1], b).unwrap();
            }
            assert_eq!(news().await, expected);
        }
    }
}
