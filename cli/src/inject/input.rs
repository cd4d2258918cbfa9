//! What `-f` names, read.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::manifest;

/// The size of everything that is read, in bytes.
const LIMIT: u64 = 64 << 20;

/// The files that count in a folder, as for kubectl.
const EXTENSIONS: [&str; 3] = ["json", "yaml", "yml"];

/// A stream of manifests.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    /// What people know it by.
    pub(crate) name: String,
    pub(crate) text: String,
}

/// Reads files, folders and, for `-`, the standard input.
pub(crate) fn read(paths: &[PathBuf], recursive: bool) -> anyhow::Result<Vec<Input>> {
    let mut left = LIMIT;
    let mut inputs = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" {
            let text = read_all(io::stdin().lock(), &mut left);
            let text = text.context("can't read the manifests in the standard input")?;
            inputs.push(Input { name: "standard input".to_owned(), text });
            continue;
        }
        if let Some(url) = path.to_str().filter(|path| is_url(path)) {
            bail!(
                "URLs are not read: download it first (curl -L {url} | kubectl secret-handshake … -f -)"
            );
        }
        for file in files(path, recursive)? {
            let name = file.display().to_string();
            let text = File::open(&file).map_err(Into::into).and_then(|it| read_all(it, &mut left));
            let text = text.with_context(|| format!("can't read the manifests in {name}"))?;
            inputs.push(Input { name, text });
        }
    }
    Ok(inputs)
}

fn is_url(path: &str) -> bool {
    path.starts_with("http://") || path.starts_with("https://")
}

fn read_all(source: impl io::Read, left: &mut u64) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    let read = source.take(*left + 1).read_to_end(&mut bytes)?;
    *left = left
        .checked_sub(read as u64)
        .with_context(|| format!("the input is larger than {} MiB", LIMIT >> 20))?;
    Ok(manifest::decode(bytes))
}

/// A file itself; of a folder the manifests, and with `recursive` those of the folders in it.
fn files(path: &Path, recursive: bool) -> anyhow::Result<Vec<PathBuf>> {
    let metadata = fs::metadata(path);
    let metadata = metadata.with_context(|| format!("can't read {}", path.display()))?;
    if !metadata.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    walk(path, recursive, &mut found)?;
    if found.is_empty() {
        bail!("{} holds no .json, .yaml or .yml file", path.display());
    }
    Ok(found)
}

fn walk(folder: &Path, recursive: bool, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut entries = entries.with_context(|| format!("can't read {}", folder.display()))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        // Links to folders are not followed, so that no circle of them is.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if recursive {
                walk(&path, recursive, found)?;
            }
        } else if path.extension().is_some_and(|it| EXTENSIONS.iter().any(|known| it == *known)) {
            found.push(path);
        }
    }
    Ok(())
}
