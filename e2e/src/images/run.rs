//! What `cargo images` does, in its order: build, print, load, check, test, measure.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use lab::image::{Architecture, Build, Dockerd, Engine, Image, Program, builder, load};

use super::args::{Make, Options, With};
use super::{make, story, throttle};
use crate::product::{Product, VERSION};
use crate::table::{Table, percentile};
use crate::{cache, workspace};

/// Builds the images, and does with them what `options` say.
///
/// # Errors
///
/// The first step that fails; with `--check`, an image that is too large.
pub async fn run(options: &Options) -> Result<()> {
    let docker = options.test || options.throttle.is_some() || options.make.local_builder;
    let daemon = if docker && !Engine::from(Program::Docker).answers() {
        Some(Dockerd::start(&cache()?.join("docker")).await?)
    } else {
        None
    };
    let engine = match &daemon {
        Some(daemon) => Some(daemon.engine().clone()),
        None if docker => Some(Program::Docker.into()),
        None => options.make.engine(),
    };
    let network = daemon.is_some().then_some("host");
    let made = options.make.run(engine.as_ref(), network).await?;
    print(&made);
    if let Some(target) = options.load {
        for one in &made {
            load(target, options.cluster.as_deref(), &one.archive()?)?;
        }
    }
    if options.check && made.iter().any(Made::is_too_large) {
        bail!("an image is larger than its goal");
    }
    let Some(engine) = engine.as_ref().filter(|_| docker) else {
        return Ok(());
    };
    if options.test {
        test(engine, &made, options.make.local_builder).await?;
    }
    if let Some(rounds) = options.throttle {
        let name = name(&made, Product::Sidecar)?;
        print_times(&throttle::measure(engine, &name, rounds).await?);
    }
    Ok(())
}

/// Tells the story, and where the builder was made of this machine's toolchain compares the binaries
/// in the images with those that cargo builds here: the same bytes from two builds in two folders.
#[expect(clippy::print_stdout, reason = "the steps are what the command is for")]
async fn test(engine: &Engine, made: &[Made], same_toolchain: bool) -> Result<()> {
    if same_toolchain {
        for one in made {
            let binary = make::compile(one.product, Architecture::host()).await?;
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
    story::tell(engine, &names, |step| println!("ok  {step}")).await
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

    async fn run(&self, engine: Option<&Engine>, network: Option<&str>) -> Result<Vec<Made>> {
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
        let mut made = Vec::new();
        for &product in products {
            let name = format!("{}{}:{}", self.prefix, product.image(), self.tag);
            let file = out.join(format!("{}-{}.tar", product.image(), build.architecture.oci()));
            let image = match engine {
                None => make::make(product, build.architecture, &name, &file).await?,
                Some(engine) => {
                    let build = Build { name: &name, dockerfile: product.dockerfile(), ..build };
                    make::build(engine, product, &build)?
                }
            };
            made.push(Made { product, image, engine: engine.cloned(), file });
        }
        Ok(made)
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
    fn is_too_large(&self) -> bool {
        self.product.goal().is_some_and(|goal| self.image.size > goal)
    }

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
    let mut table = Table::new(&["image", "size", "at most", "digest", "archive"]);
    for one in made {
        let Made { product, image, engine, file } = one;
        let size = megabytes(image.size) + if one.is_too_large() { " TOO LARGE" } else { "" };
        let goal = product.goal().map_or_else(String::new, megabytes);
        let archive = match engine {
            Some(_) => String::new(),
            None => file.display().to_string(),
        };
        table.row([image.name.clone(), size, goal, image.digest.clone(), archive]);
    }
    println!("{table}");
}

#[expect(clippy::print_stdout, reason = "the table is what the command is for")]
fn print_times(rows: &[throttle::Row]) {
    let mut table = Table::new(&["CPU", "handshake p50, p90, max", "ready p50, p90, max"]);
    for row in rows {
        let [handshake, ready] = [&row.handshake, &row.ready].map(|times| {
            let ms = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1000.0);
            [50, 90, 100].map(|at| percentile(times, at).map(ms).unwrap_or_default()).join(", ")
        });
        table.row([row.cpu.unwrap_or("no limit").to_owned(), handshake, ready]);
    }
    println!(
        "{table}\nmilliseconds from Legacy's first listen to the handshake, and from there to Ready"
    );
}

fn megabytes(bytes: u64) -> String {
    format!("{}.{:02} MB", bytes / 1_000_000, bytes % 1_000_000 / 10_000)
}
