//! What the images are: names, users, labels, sizes to keep to.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use clap::ValueEnum;

use lab::image::{Architecture, File, Spec};

/// The version that all images carry as their tag: the workspace's.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// One of the three images.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Product {
    /// The admission webhook.
    Webhook,
    /// The sidecar that pods get.
    Sidecar,
    /// The stand-in for Legacy that the demo runs.
    LegacyMock,
}

impl Product {
    /// All images, in the order in which they are built and printed.
    pub const ALL: [Self; 3] = [Self::Webhook, Self::Sidecar, Self::LegacyMock];

    /// The package that holds the program, which is also the program's name.
    #[must_use]
    pub const fn package(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Sidecar => "sidecar",
            Self::LegacyMock => "legacy-mock",
        }
    }

    /// The image's name as the manifests write it, without registry and tag.
    #[must_use]
    pub const fn image(self) -> &'static str {
        match self {
            Self::Webhook => "secret-handshake-webhook",
            Self::Sidecar => "secret-handshake-sidecar",
            Self::LegacyMock => "legacy-mock",
        }
    }

    /// The image's name with the workspace's version as its tag: what the manifests of this commit
    /// ask for.
    #[must_use]
    pub fn reference(self) -> String {
        format!("{}:{VERSION}", self.image())
    }

    /// The Dockerfile, relative to the workspace.
    #[must_use]
    pub const fn dockerfile(self) -> &'static str {
        match self {
            Self::Webhook => "Dockerfile.webhook",
            Self::Sidecar => "Dockerfile.sidecar",
            Self::LegacyMock => "legacy-mock/Dockerfile",
        }
    }

    /// The cargo profile that the program is built with.
    #[must_use]
    pub const fn profile(self) -> &'static str {
        match self {
            Self::Webhook => "release",
            Self::Sidecar | Self::LegacyMock => "sidecar",
        }
    }

    /// User and group of the process, as numbers: a kubelet can tell only by a number that
    /// `runAsNonRoot` is kept.
    #[must_use]
    pub const fn user(self) -> &'static str {
        match self {
            Self::Webhook | Self::Sidecar => "65532:65532",
            Self::LegacyMock => "1005:1005",
        }
    }

    /// The image's size in bytes, uncompressed, that it is to stay under; none for the mock, which
    /// nobody ships.
    #[must_use]
    pub const fn goal(self) -> Option<u64> {
        match self {
            Self::Webhook => Some(10_500_000),
            Self::Sidecar => Some(1_400_000),
            Self::LegacyMock => None,
        }
    }

    const fn title(self) -> &'static str {
        self.image()
    }

    const fn description(self) -> &'static str {
        match self {
            Self::Webhook => "Adds the handshake sidecar to the pods that ask for it",
            Self::Sidecar => "Does Legacy's secret handshake, again after each restart",
            Self::LegacyMock => "A stand-in for Legacy, which needs a secret handshake to serve",
        }
    }

    /// The OCI image's annotations as labels, the same as in the Dockerfiles.
    ///
    /// See <https://github.com/opencontainers/image-spec/blob/main/annotations.md>.
    #[must_use]
    pub fn labels(self) -> BTreeMap<String, String> {
        let source = match env!("CARGO_PKG_REPOSITORY") {
            "" => None,
            url => Some(("source", url)),
        };
        [
            ("title", self.title()),
            ("description", self.description()),
            ("version", VERSION),
            ("licenses", env!("CARGO_PKG_LICENSE")),
        ]
        .into_iter()
        .chain(source)
        .map(|(key, value)| (format!("org.opencontainers.image.{key}"), value.to_owned()))
        .collect()
    }

    /// The image as data: `binary` at the root of an otherwise empty file system.
    ///
    /// The time in it is `SOURCE_DATE_EPOCH` (seconds) or the epoch itself, so the same binary
    /// always gives the same image; see <https://reproducible-builds.org/specs/source-date-epoch/>.
    ///
    /// # Errors
    ///
    /// When `SOURCE_DATE_EPOCH` is set and isn't a number.
    pub fn spec(self, architecture: Architecture, name: &str, binary: Vec<u8>) -> Result<Spec> {
        let path = format!("/{}", self.package());
        Ok(Spec {
            name: name.to_owned(),
            architecture,
            user: self.user().to_owned(),
            entrypoint: vec![path.clone()],
            files: vec![File { path, mode: 0o755, content: binary }],
            labels: self.labels(),
            created: source_date_epoch()?,
        })
    }
}

fn source_date_epoch() -> Result<u64> {
    match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text
            .trim()
            .parse()
            .with_context(|| format!("SOURCE_DATE_EPOCH is {text:?}, not a number of seconds")),
        Err(_) => Ok(0),
    }
}
