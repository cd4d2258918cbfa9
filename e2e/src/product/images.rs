//! What the images are: names, users, labels, sizes to keep to.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use lab::image::{Architecture, Spec};

/// The version that all images carry as their tag: the workspace's.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// One of the three images, and the program in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product {
    /// The package that holds the program, which is also the program's name.
    pub package: &'static str,
    /// The image's name as the manifests write it, without registry and tag.
    pub image: &'static str,
    /// Relative to the workspace.
    pub dockerfile: &'static str,
    /// The cargo profile that the program is built with.
    pub profile: &'static str,
    /// User and group of the process, as numbers: a kubelet can tell only by a number that
    /// `runAsNonRoot` is kept.
    pub user: &'static str,
    /// The image's size in bytes, uncompressed, that it is to stay under; none for the mock, which
    /// nobody ships.
    pub goal: Option<u64>,
    description: &'static str,
}

impl Product {
    /// The admission webhook.
    pub const WEBHOOK: Self = Self {
        package: "webhook",
        image: "secret-handshake-webhook",
        dockerfile: "Dockerfile.webhook",
        profile: "release",
        user: "65532:65532",
        goal: Some(9_000_000),
        description: "Adds the handshake sidecar to the pods that ask for it",
    };
    /// The sidecar that pods get.
    pub const SIDECAR: Self = Self {
        package: "sidecar",
        image: "secret-handshake-sidecar",
        dockerfile: "Dockerfile.sidecar",
        profile: "sidecar",
        user: "65532:65532",
        goal: Some(1_400_000),
        description: "Does Legacy's secret handshake, again after each restart",
    };
    /// The stand-in for Legacy that the demo runs.
    pub const LEGACY_MOCK: Self = Self {
        package: "legacy-mock",
        image: "legacy-mock",
        dockerfile: "legacy-mock/Dockerfile",
        profile: "sidecar",
        user: "1005:1005",
        goal: None,
        description: "A stand-in for Legacy, which needs a secret handshake to serve",
    };
    /// All images, in the order in which they are built and printed.
    pub const ALL: [Self; 3] = [Self::WEBHOOK, Self::SIDECAR, Self::LEGACY_MOCK];

    /// The image's name with the workspace's version as its tag: what the manifests of this commit
    /// ask for.
    #[must_use]
    pub fn reference(self) -> String {
        format!("{}:{VERSION}", self.image)
    }

    /// The OCI image's annotations as labels, the same as in the Dockerfiles.
    ///
    /// See <https://github.com/opencontainers/image-spec/blob/main/annotations.md>.
    #[must_use]
    pub fn labels(self) -> BTreeMap<String, String> {
        let source =
            Some(("source", env!("CARGO_PKG_REPOSITORY"))).filter(|(_, url)| !url.is_empty());
        [
            ("title", self.image),
            ("description", self.description),
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
        Ok(Spec {
            name: name.to_owned(),
            architecture,
            user: self.user.to_owned(),
            path: format!("/{}", self.package),
            program: binary,
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
