//! Images: the same names, versions, users and labels wherever they are named.

use e2e::product::{Product, VERSION};
use e2e::workspace;
use k8s_openapi::api::apps::v1::Deployment;
use serde_json::Value;

use crate::rendered::{container, demo, deployment, find, flags, kubectl, kustomize};

#[test]
fn images_have_the_version_of_the_workspace() {
    for folder in ["webhook", "demo"] {
        let path = workspace().join("deploy").join(folder).join("kustomization.yaml");
        let kustomization: Value =
            serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        for image in kustomization["images"].as_array().unwrap() {
            assert_eq!(image["newTag"], VERSION, "{image}");
        }
    }
    if kubectl() {
        let deployment = deployment();
        assert_eq!(container(&deployment).image, Some(Product::WEBHOOK.reference()));
        let policy = flags(&deployment).sidecar;
        assert_eq!(policy.image, Product::SIDECAR.reference());
        let legacy: Deployment = find(demo(), "Deployment");
        assert_eq!(container(&legacy).image, Some(Product::LEGACY_MOCK.reference()));
    }
}

/// An overlay with `images:` and our `configurations:` reaches the sidecar's image as well, though it
/// stands in an environment variable.
#[test]
fn an_overlay_changes_both_images() {
    if !kubectl() {
        return;
    }
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let deploy = workspace().join("deploy/webhook");
    std::fs::copy(deploy.join("images.yaml"), folder.path().join("images.yaml")).unwrap();
    let up = "../".repeat(folder.path().canonicalize().unwrap().components().count() - 1);
    let base =
        format!("{up}{}", deploy.canonicalize().unwrap().strip_prefix("/").unwrap().display());
    let overlay = format!(
        "resources: [{base}]\nconfigurations: [images.yaml]\nimages:\n\
         - {{name: {0}, newName: registry.test/{0}, newTag: v9}}\n\
         - {{name: {1}, newName: registry.test/{1}, newTag: v9}}\n",
        Product::WEBHOOK.image,
        Product::SIDECAR.image,
    );
    std::fs::write(folder.path().join("kustomization.yaml"), overlay).unwrap();
    let deployment: Deployment = find(&kustomize(folder.path()), "Deployment");
    assert_eq!(
        container(&deployment).image.as_deref(),
        Some("registry.test/secret-handshake-webhook:v9")
    );
    let policy = flags(&deployment).sidecar;
    assert_eq!(policy.image, "registry.test/secret-handshake-sidecar:v9");
}

#[test]
fn dockerfiles_say_what_the_images_are() {
    for product in Product::ALL {
        let text = std::fs::read_to_string(workspace().join(product.dockerfile)).unwrap();
        let (_, image) = text.split_once("\nFROM scratch\n").unwrap();
        let package = product.package;
        let mut expected = vec![
            format!("ARG VERSION={VERSION}\n"),
            format!("COPY --from=build /image/{package} /{package}\n"),
            format!("\nUSER {}\n", product.user),
            format!("\nENTRYPOINT [\"/{package}\"]\n"),
        ];
        for (key, value) in product.labels() {
            let value = if key.ends_with(".version") { "$VERSION" } else { &value };
            expected.push(format!("{key}=\"{value}\""));
        }
        for line in expected {
            assert!(image.contains(&line), "{} lacks {line:?}", product.dockerfile);
        }
        assert!(text.contains(&format!("--profile {}", product.profile)), "{package}");
    }
}

/// A member that the context lacks would end every build at its manifest.
#[test]
fn the_build_context_has_every_member_of_the_workspace() {
    let manifest = std::fs::read_to_string(workspace().join("Cargo.toml")).unwrap();
    let members = manifest.lines().find_map(|line| line.strip_prefix("members = ")).unwrap();
    let members: Vec<String> = serde_json::from_str(members).unwrap();
    let context = std::fs::read_to_string(workspace().join(".dockerignore")).unwrap();
    for member in members {
        assert!(context.lines().any(|line| line == format!("!{member}")), "{member}");
    }
}
