//! `cargo images`: builds the three images, says how large they are, and loads them into a cluster.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, ValueEnum};
use e2e::images::{self, story, throttle};
use e2e::product::{Product, VERSION};
use e2e::{command_line, workspace};
use lab::image::{Architecture, Build, Daemon, Engine, Image, Program, Target, builder, load};

/// Builds the images of webhook, sidecar and Legacy's mock.
///
/// With docker, podman, nerdctl or buildah it builds the Dockerfiles; with none of them it compiles
/// the same static binaries with cargo and writes the same images as tar files by itself.
#[derive(Debug, Parser)]
#[command(name = "cargo images", version)]
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
    /// Run the images as hardened containers and see whether Legacy is initialised. Needs root and
    /// Docker, whose daemon is started if there is none
    #[arg(long, conflicts_with_all = ["only", "arch"])]
    test: bool,
    /// Measure the handshake under CPU limits, so many times for each; needs the same as --test
    #[arg(long, value_name = "ROUNDS", conflicts_with = "arch")]
    throttle: Option<usize>,
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
    #[arg(long, default_value = "", hide_default_value = true, value_name = "REGISTRY/")]
    prefix: String,
    /// The images' tag
    #[arg(long, default_value = VERSION)]
    tag: String,
    /// The image to build in, instead of the Dockerfiles' own choice: any Debian with Rust
    #[arg(long, env = "RUST_IMAGE", value_name = "IMAGE")]
    rust_image: Option<String>,
    /// Build in an image made of this machine's own toolchain and Debian packages, where no registry
    /// can be reached (Docker only)
    #[arg(long, conflicts_with = "rust_image")]
    local_builder: bool,
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
    run(&Arguments::parse_from(command_line::arguments()))
}

fn run(arguments: &Arguments) -> Result<()> {
    let docker = arguments.test || arguments.throttle.is_some() || arguments.make.local_builder;
    let daemon = daemon(docker)?;
    let engine = match &daemon {
        Some(daemon) => Some(daemon.engine().clone()),
        None if docker => Some(Program::Docker.into()),
        None => arguments.make.engine(),
    };
    let network = daemon.is_some().then_some("host");
    let made = arguments.make.run(engine.as_ref(), network)?;
    print(&made);
    if let Some(target) = arguments.load {
        for one in &made {
            load(target, arguments.cluster.as_deref(), &one.archive()?)?;
        }
    }
    let large = made.iter().any(|one| one.product.goal().is_some_and(|goal| one.image.size > goal));
    if arguments.check && large {
        bail!("an image is larger than its goal");
    }
    let Some(engine) = engine.as_ref().filter(|_| docker) else {
        return Ok(());
    };
    if arguments.test {
        test(engine, &made, arguments.make.local_builder)?;
    }
    if let Some(rounds) = arguments.throttle {
        let name = name(&made, Product::Sidecar)?;
        let runtime = tokio::runtime::Runtime::new()?;
        print_times(&runtime.block_on(throttle::measure(engine, &name, rounds))?);
    }
    Ok(())
}

/// A Docker daemon of our own, if one is wanted and none is there.
fn daemon(wanted: bool) -> Result<Option<Daemon>> {
    let there = Engine::from(Program::Docker).answers();
    (wanted && !there).then(Daemon::start).transpose()
}

/// Tells the story, and where the builder was made of this machine's toolchain compares the binaries
/// in the images with those that cargo builds here: the same bytes from two builds in two folders.
#[expect(clippy::print_stdout, reason = "the steps are what the command is for")]
fn test(engine: &Engine, made: &[Made], same_toolchain: bool) -> Result<()> {
    if same_toolchain {
        for one in made {
            let binary = images::compile(one.product, Architecture::host())?;
            let here = std::fs::read(&binary)?;
            let path = format!("/{}", one.product.package());
            if engine.file(&one.image.name, &path)? != here {
                bail!("{path} in {} is not the same as {}", one.image.name, binary.display());
            }
        }
        println!("ok  the binaries in the images are those that cargo builds here, byte for byte");
    }
    let names = story::Names {
        webhook: name(made, Product::Webhook)?,
        sidecar: name(made, Product::Sidecar)?,
        legacy: name(made, Product::LegacyMock)?,
    };
    story::tell(engine, &names, |step| println!("ok  {step}"))
}

fn name(made: &[Made], product: Product) -> Result<String> {
    let one = made.iter().find(|one| one.product == product);
    Ok(one.with_context(|| format!("{} was not built", product.image()))?.image.name.clone())
}

impl Make {
    /// What builds: as asked, or what is there.
    fn engine(&self) -> Option<Engine> {
        let program = match self.engine {
            None => return Engine::find(),
            Some(With::None) => return None,
            Some(With::Docker) => Program::Docker,
            Some(With::Podman) => Program::Podman,
            Some(With::Nerdctl) => Program::Nerdctl,
            Some(With::Buildah) => Program::Buildah,
        };
        Some(program.into())
    }

    fn run(&self, engine: Option<&Engine>, network: Option<&str>) -> Result<Vec<Made>> {
        let out = workspace().join(&self.out);
        std::fs::create_dir_all(&out).with_context(|| format!("creating {}", out.display()))?;
        let rust_image = match engine {
            Some(engine) if self.local_builder => Some(builder(engine)?),
            _ => self.rust_image.clone(),
        };
        let mut arguments = vec![format!("VERSION={VERSION}")];
        arguments.extend(rust_image.map(|image| format!("RUST_IMAGE={image}")));
        let build = Build {
            name: "",
            context: workspace(),
            dockerfile: "",
            architecture: self.arch.unwrap_or(Architecture::host()),
            arguments: &arguments,
            network: self.network.as_deref().or(network),
        };
        let products = if self.only.is_empty() { &Product::ALL } else { self.only.as_slice() };
        products.iter().map(|product| self.one(*product, engine, &build, &out)).collect()
    }

    fn one(
        &self,
        product: Product,
        engine: Option<&Engine>,
        build: &Build<'_>,
        out: &Path,
    ) -> Result<Made> {
        let name = format!("{}{}:{}", self.prefix, product.image(), self.tag);
        let file = out.join(format!("{}-{}.tar", product.image(), build.architecture.oci()));
        let image = match engine {
            None => images::make(product, build.architecture, &name, &file)?,
            Some(engine) => {
                let build = Build { name: &name, dockerfile: product.dockerfile(), ..*build };
                images::build(engine, product, &build)?
            }
        };
        Ok(Made { product, image, engine: engine.cloned(), file })
    }
}

/// An image, and how to come by it as a file.
struct Made {
    product: Product,
    image: Image,
    engine: Option<Engine>,
    file: PathBuf,
}

impl Made {
    /// The image as a file, saved from the engine that has it.
    fn archive(&self) -> Result<PathBuf> {
        if let Some(engine) = &self.engine {
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
    let width = made.iter().map(|one| one.image.name.len()).max().unwrap_or_default();
    println!("{:width$}  {:>9}  {:>9}  digest", "image", "size", "at most");
    for Made { product, image, engine, file } in made {
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

#[expect(clippy::print_stdout, reason = "the table is what the command is for")]
fn print_times(rows: &[throttle::Row]) {
    println!("\nmilliseconds from Legacy's first listen to the handshake, and from there to Ready");
    println!("{:>8}  {:>24}  {:>24}", "CPU", "handshake p50, p90, max", "ready p50, p90, max");
    for row in rows {
        let [handshake, ready] = [&row.handshake, &row.ready].map(|times| {
            let at = |percent: usize| times.get((times.len() - 1) * percent / 100).copied();
            let ms = |time: Option<Duration>| time.unwrap_or_default().as_secs_f64() * 1000.0;
            format!("{:.1} {:>6.1} {:>6.1}", ms(at(50)), ms(at(90)), ms(at(100)))
        });
        println!("{:>8}  {handshake:>24}  {ready:>24}", row.cpu.unwrap_or("no limit"));
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{}.{:02} MB", bytes / 1_000_000, bytes % 1_000_000 / 10_000)
}
