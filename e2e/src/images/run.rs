//! What `cargo images` does, in its order: build, print, load, check, test, measure.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use lab::image::{Architecture, Build, Dockerd, Engine, Image, builder, load};

use super::args::{NO_ENGINE, Options};
use super::{test, throttle};
use crate::folders::{cache, workspace};
use crate::product::{Product, VERSION, compile, make};
use crate::table::Table;

/// Builds the images, and does with them what `options` say.
///
/// # Errors
///
/// The first step that fails; with `--check`, an image that is too large.
#[expect(clippy::print_stdout, reason = "the table is what the command is for")]
pub async fn run(options: &Options) -> Result<()> {
    let docker = options.test || options.throttle.is_some() || options.local_builder;
    let mut engine = match options.engine.as_deref() {
        _ if docker => Some(Engine::named("docker")),
        None => Engine::find(),
        Some(NO_ENGINE) => None,
        Some(name) => Some(Engine::named(name)),
    };
    let mut daemon = None;
    if docker && !engine.as_ref().is_some_and(Engine::answers) {
        let started = daemon.insert(Dockerd::start(&cache()?.join("docker")).await?);
        engine = Some(started.engine().clone());
    }
    let network = daemon.is_some().then_some("host");
    let made = options.make(engine.as_ref(), network).await?;
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
        test_images(engine, &made, options.local_builder).await?;
    }
    if let Some(rounds) = options.throttle {
        println!("{}", throttle::measure(engine, name(&made, Product::SIDECAR)?, rounds).await?);
    }
    Ok(())
}

/// Tests the images. Where the builder was made of this machine's toolchain, the binaries in them are
/// compared with those that cargo builds here: the same bytes from two builds in two folders.
#[expect(clippy::print_stdout, reason = "the steps are what the command is for")]
async fn test_images(engine: &Engine, made: &[Made], same_toolchain: bool) -> Result<()> {
    if same_toolchain {
        for one in made {
            let binary = compile(one.product, Architecture::host()).await?;
            let here = std::fs::read(&binary)?;
            let path = format!("/{}", one.product.package);
            if engine.file(&one.image.name, &path)? != here {
                bail!("{path} in {} is not the same as {}", one.image.name, binary.display());
            }
        }
        println!("ok  the binaries in the images are those that cargo builds here, byte for byte");
    }
    test::run(engine, |product| name(made, product), |step| println!("ok  {step}")).await
}

fn name(made: &[Made], product: Product) -> Result<&str> {
    let one = made.iter().find(|one| one.product == product);
    Ok(&one.with_context(|| format!("{} was not built", product.image))?.image.name)
}

impl Options {
    async fn make(&self, engine: Option<&Engine>, network: Option<&str>) -> Result<Vec<Made>> {
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
        let wanted = |product: &Product| {
            self.only.is_empty() || self.only.iter().any(|name| name == product.package)
        };
        let mut made = Vec::new();
        for product in Product::ALL.into_iter().filter(wanted) {
            let name = format!("{}{}:{}", self.prefix, product.image, self.tag);
            let file = out.join(format!("{}-{}.tar", product.image, build.architecture.oci()));
            let image = match engine {
                None => make(product, build.architecture, &name, &file).await?,
                Some(engine) => {
                    let build = Build { name: &name, dockerfile: product.dockerfile, ..build };
                    build_dockerfile(engine, product, &build)?
                }
            };
            made.push(Made { product, image, engine: engine.cloned(), file });
        }
        Ok(made)
    }
}

fn build_dockerfile(engine: &Engine, product: Product, build: &Build<'_>) -> Result<Image> {
    engine.build(build)?;
    if build.architecture != Architecture::host() && !engine.knows_platforms() {
        // Docker's old builder takes all that it builds for the architecture of its own machine: this
        // puts the same program into an image that says what it is for.
        let program = engine.file(build.name, &format!("/{}", product.package))?;
        engine.load(&product.spec(build.architecture, build.name, program)?)?;
    }
    engine.inspect(build.name)
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
        self.product.goal.is_some_and(|goal| self.image.size > goal)
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
        let goal = product.goal.map_or_else(String::new, megabytes);
        let archive = match engine {
            Some(_) => String::new(),
            None => file.display().to_string(),
        };
        table.row([image.name.clone(), size, goal, image.digest.clone(), archive]);
    }
    println!("{table}");
}

fn megabytes(bytes: u64) -> String {
    format!("{}.{:02} MB", bytes / 1_000_000, bytes % 1_000_000 / 10_000)
}
