//! `cargo images`: builds the three images, says how large they are, and loads them into a cluster.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, ValueEnum};
use e2e::image::{self, Architecture, Build, Engine, Image, Product, Target};

/// Builds the images of webhook, sidecar and Legacy's mock.
///
/// With docker, podman, nerdctl or buildah it builds the Dockerfiles; with none of them it compiles
/// the same static binaries with cargo and writes the same images as tar files by itself.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(flatten)]
    make: Make,
    /// Load the images into the nodes of a cluster
    #[arg(long, value_name = "WHERE")]
    load: Option<Target>,
    /// With --load: the kind or k3d cluster, minikube's profile, or the address of containerd's socket
    #[arg(long, value_name = "NAME", requires = "load")]
    cluster: Option<String>,
    /// Fail if an image is larger than its goal
    #[arg(long)]
    check: bool,
}

#[derive(Debug, Args)]
struct Make {
    /// Only these images
    #[arg(long, value_enum, value_name = "IMAGE", value_delimiter = ',')]
    only: Vec<Product>,
    /// What builds the images; by default the first engine that answers, else none
    #[arg(long, value_enum)]
    engine: Option<With>,
    /// The architecture that the images are for; this machine's by default
    #[arg(long, value_enum)]
    arch: Option<Architecture>,
    /// Put before each image's name, such as `registry.example/team/`
    #[arg(
        long,
        default_value = "",
        hide_default_value = true,
        value_name = "REGISTRY/"
    )]
    prefix: String,
    /// The images' tag
    #[arg(long, default_value = image::VERSION)]
    tag: String,
    /// The image to build in, instead of the Dockerfiles' own choice: any with Rust and a C compiler
    #[arg(long, env = "RUST_IMAGE", value_name = "IMAGE")]
    rust_image: Option<String>,
    /// The network that the engine builds in, such as `host`
    #[arg(long)]
    network: Option<String>,
    /// Where archives are written
    #[arg(long, default_value = "target/images", value_name = "FOLDER")]
    out: PathBuf,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum With {
    Docker,
    Podman,
    Nerdctl,
    Buildah,
    /// No engine: a tar file straight from the compiled binary
    None,
}

fn main() -> Result<()> {
    // `cargo images -- --load kind` means the same as without the dashes.
    let mut arguments: Vec<_> = std::env::args_os().collect();
    if arguments.get(1).is_some_and(|first| first == "--") {
        arguments.remove(1);
    }
    run(&Arguments::parse_from(arguments))
}

fn run(arguments: &Arguments) -> Result<()> {
    let made = arguments.make.run()?;
    print(&made);
    if let Some(target) = arguments.load {
        for one in &made {
            image::load(target, arguments.cluster.as_deref(), &one.archive()?)?;
        }
    }
    let large = made
        .iter()
        .any(|one| one.product.goal().is_some_and(|goal| one.image.size > goal));
    if arguments.check && large {
        bail!("an image is larger than its goal");
    }
    Ok(())
}

/// An image, and how to come by it as a file.
struct Made {
    product: Product,
    image: Image,
    engine: Option<Engine>,
    file: PathBuf,
}

impl Make {
    fn run(&self) -> Result<Vec<Made>> {
        let engine = match self.engine {
            None => Engine::find(),
            Some(With::None) => None,
            Some(With::Docker) => Some(Engine::Docker),
            Some(With::Podman) => Some(Engine::Podman),
            Some(With::Nerdctl) => Some(Engine::Nerdctl),
            Some(With::Buildah) => Some(Engine::Buildah),
        };
        let out = image::workspace().join(&self.out);
        std::fs::create_dir_all(&out).with_context(|| format!("creating {}", out.display()))?;
        let products = if self.only.is_empty() {
            &Product::ALL
        } else {
            self.only.as_slice()
        };
        products
            .iter()
            .map(|product| self.one(*product, engine, &out))
            .collect()
    }

    fn one(&self, product: Product, engine: Option<Engine>, out: &std::path::Path) -> Result<Made> {
        let architecture = self.arch.unwrap_or(Architecture::host());
        let name = format!("{}{}:{}", self.prefix, product.image(), self.tag);
        let file = out.join(format!("{}-{}.tar", product.image(), architecture.oci()));
        let image = match engine {
            None => image::make(product, architecture, &name, &file)?,
            Some(engine) => {
                let rust = self
                    .rust_image
                    .iter()
                    .map(|image| format!("RUST_IMAGE={image}"));
                let version = format!("VERSION={}", image::VERSION);
                let build = Build {
                    name,
                    architecture,
                    arguments: rust.chain([version]).collect(),
                    network: self.network.clone(),
                };
                engine.build(product, &build)?
            }
        };
        Ok(Made {
            product,
            image,
            engine,
            file,
        })
    }
}

impl Made {
    /// The image as a file, saved from the engine that has it.
    fn archive(&self) -> Result<PathBuf> {
        if let Some(engine) = self.engine {
            if self.file.exists() {
                std::fs::remove_file(&self.file)?;
            }
            engine.save(&self.image.name, &self.file)?;
        }
        Ok(self.file.clone())
    }
}

#[expect(clippy::print_stdout, reason = "the table is what the command is for")]
fn print(made: &[Made]) {
    let width = made
        .iter()
        .map(|one| one.image.name.len())
        .max()
        .unwrap_or_default();
    println!(
        "{:width$}  {:>9}  {:>9}  digest",
        "image", "size", "at most"
    );
    for Made {
        product,
        image,
        engine,
        file,
    } in made
    {
        let goal = product.goal().map_or_else(String::new, megabytes);
        let large = product.goal().is_some_and(|goal| image.size > goal);
        println!(
            "{:width$}  {:>9}  {goal:>9}  {}{}",
            image.name,
            megabytes(image.size),
            image.digest,
            if large { "  TOO LARGE" } else { "" },
        );
        if engine.is_none() {
            println!("{:width$}  {}", "", file.display());
        }
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{}.{:02} MB", bytes / 1_000_000, bytes % 1_000_000 / 10_000)
}
