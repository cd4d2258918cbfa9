//! Certificates into files. A CA that is there is not overwritten unless that was asked for.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, bail};
use jiff::Timestamp;

use crate::args::IssueArgs;
use crate::inspect::{self, MAX_PEM};
use crate::issue::Authority;
use crate::key::PrivateKey;
use crate::validity::{CLOCK_SKEW, Validity};

/// Issues what `args` ask for and writes `ca.crt`, `tls.crt` and `tls.key` (0600), and `ca.key`
/// (0600) where it is to be kept; says on `out` what was done.
///
/// Each file is replaced at once and whole. The certificate and its key are two files, so a
/// server that rereads them can meet a pair that does not fit for a moment; ours waits that out.
///
/// # Errors
/// What could not be read, issued or written, and what to do about it.
pub fn issue(args: &IssueArgs, out: &mut impl Write, now: Timestamp) -> anyhow::Result<()> {
    let dir = &args.out;
    fs::create_dir_all(dir).with_context(|| format!("cannot make the folder {}", dir.display()))?;
    let (ca_crt, ca_key) = (dir.join("ca.crt"), dir.join("ca.key"));
    let kept = if args.new_ca { None } else { existing(&ca_crt, &ca_key)? };
    let is_new = kept.is_none();
    let ca = match kept {
        Some(ca) => ca,
        None => Authority::new(
            PrivateKey::generate()?,
            Validity::starting(now, args.ca_life, CLOCK_SKEW),
        )
        .context("cannot make a CA")?,
    };
    let validity = Validity::starting(now, args.life, CLOCK_SKEW).within(ca.validity());
    let leaf = ca
        .issue(PrivateKey::generate()?, &args.names(), validity)
        .context("cannot issue the certificate")?;
    if is_new {
        // A key left over from another CA must never stand beside this one.
        match fs::remove_file(&ca_key) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {}", ca_key.display()));
            }
            _ => {}
        }
        if args.keep_ca_key {
            put(&ca_key, ca.key().to_pem().as_bytes(), 0o600)?;
        }
        put(&ca_crt, pem_of(std::slice::from_ref(ca.certificate())).as_bytes(), 0o644)?;
    }
    put(&dir.join("tls.key"), leaf.key().to_pem().as_bytes(), 0o600)?;
    put(&dir.join("tls.crt"), pem_of(leaf.chain()).as_bytes(), 0o644)?;
    let whose = if is_new { "a new CA" } else { "the CA that was there" };
    writeln!(
        out,
        "{}: tls.crt and tls.key, signed by {whose} (ca.crt, until {}), valid until {}",
        dir.display(),
        ca.validity().not_after,
        validity.not_after
    )?;
    Ok(())
}

/// Certificates as PEM, one after the other: the form of a caBundle.
#[must_use]
pub fn pem_of(certificates: &[rustls_pki_types::CertificateDer<'_>]) -> String {
    let blocks: Vec<_> =
        certificates.iter().map(|der| pem::Pem::new("CERTIFICATE", der.as_ref())).collect();
    pem::encode_many_config(&blocks, pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF))
}

/// Reads a file that should hold PEM, up to [`MAX_PEM`] bytes.
///
/// # Errors
/// The file's name and what is wrong with it.
pub fn read(path: &Path) -> anyhow::Result<zeroize::Zeroizing<Vec<u8>>> {
    let shown = path.display();
    let file = File::open(path).with_context(|| format!("cannot open {shown}"))?;
    let mut bytes = zeroize::Zeroizing::new(Vec::new());
    file.take(MAX_PEM as u64 + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read {shown}"))?;
    if bytes.len() > MAX_PEM {
        bail!("{shown} is longer than {MAX_PEM} bytes: that is no PEM file");
    }
    Ok(bytes)
}

/// The CA that is already there; `None` if there is none.
fn existing(ca_crt: &Path, ca_key: &Path) -> anyhow::Result<Option<Authority>> {
    let shown = ca_crt.display();
    if !ca_crt.try_exists().with_context(|| format!("cannot look for {shown}"))? {
        return Ok(None);
    }
    if !ca_key.try_exists().with_context(|| format!("cannot look for {}", ca_key.display()))? {
        bail!(
            "{shown} is there, but its key was not kept, so nothing more can be signed with it: \
             choose another --out, or give --new-ca to replace it (whoever trusts it must then \
             be given the new one)"
        );
    }
    let unusable = || format!("{shown} and {} are no usable CA: see --new-ca", ca_key.display());
    let [certificate] = <[_; 1]>::try_from(
        inspect::certificates(&read(ca_crt)?).with_context(unusable)?,
    )
    .map_err(|_| anyhow::anyhow!("{shown} holds more than one certificate: see --new-ca"))?;
    let key = PrivateKey::from_pem(&read(ca_key)?).with_context(unusable)?;
    Authority::from_parts(certificate, key).map(Some).with_context(unusable)
}

/// Writes a file whole or not at all: beside it first, then renamed over it.
fn put(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    let shown = path.display();
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}.tmp", std::process::id()));
    let beside = Path::new(&beside);
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(beside, path)
    };
    write()
        .inspect_err(|_| drop(fs::remove_file(beside)))
        .with_context(|| format!("cannot write {shown}"))
}
