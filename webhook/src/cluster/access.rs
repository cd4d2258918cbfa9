//! Where the API server is, how it is recognised, and how we show who we are.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use certs::inspect;
use certs::key::PrivateKey;
use http::Uri;
use http::header::HeaderValue;
use kube::Config;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use rustls::crypto::ring;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use secrecy::ExposeSecret;
use zeroize::Zeroizing;

/// All that a connection to the API server needs.
pub(super) struct Access {
    /// `https://HOST:PORT`, perhaps with a path in front of all others.
    pub(super) server: Uri,
    pub(super) namespace: String,
    server_name: Option<String>,
    roots: Roots,
    credentials: Credentials,
}

/// The CAs that may have signed the API server's certificate.
enum Roots {
    Fixed(Vec<CertificateDer<'static>>),
    /// Kept up to date by the kubelet.
    File(PathBuf),
}

enum Credentials {
    None,
    Token(Zeroizing<String>),
    /// Renewed by the kubelet, every hour or so.
    TokenFile(PathBuf),
    Certificate(Vec<CertificateDer<'static>>, PrivateKey),
}

impl Access {
    pub(super) async fn find(kubeconfig: Option<&Path>) -> anyhow::Result<Self> {
        let named = kubeconfig
            .map(Path::to_owned)
            .or_else(|| std::env::var_os("KUBECONFIG").map(PathBuf::from));
        let config = match named {
            Some(path) => {
                let read = Kubeconfig::read_from(path).context("can't read the kubeconfig")?;
                Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
                    .await
                    .context("the kubeconfig is unusable")?
            }
            None => Config::incluster().context("this is no pod with a service account")?,
        };
        Self::of(config)
    }

    fn of(config: Config) -> anyhow::Result<Self> {
        ensure!(
            !config.accept_invalid_certs,
            "a kubeconfig with insecure-skip-tls-verify is not used"
        );
        let fixed = config.root_cert.unwrap_or_default().into_iter().map(CertificateDer::from);
        let roots =
            config.root_cert_file.map_or_else(|| Roots::Fixed(fixed.collect()), Roots::File);
        Ok(Self {
            credentials: Credentials::of(&config.auth_info)?,
            server: config.cluster_url,
            namespace: config.default_namespace,
            server_name: config.tls_server_name,
            roots,
        })
    }

    /// The name that the API server's certificate has to have.
    pub(super) fn server_name(&self) -> anyhow::Result<ServerName<'static>> {
        let host = self.server.host().unwrap_or_default();
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let name = self.server_name.as_deref().unwrap_or(host).to_owned();
        ServerName::try_from(name).context("the API server's address has no usable name")
    }

    /// TLS towards the API server, with the CAs as they are now.
    pub(super) async fn tls(&self) -> anyhow::Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let found = match &self.roots {
            Roots::Fixed(found) => found.clone(),
            Roots::File(path) => {
                let pem = tokio::fs::read(path)
                    .await
                    .with_context(|| format!("can't read {}", path.display()))?;
                inspect::certificates(&pem).with_context(|| path.display().to_string())?
            }
        };
        roots.add_parsable_certificates(found);
        let config = ClientConfig::builder_with_provider(ring::default_provider().into())
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .with_root_certificates(roots);
        Ok(match &self.credentials {
            Credentials::Certificate(chain, key) => {
                config.with_client_auth_cert(chain.clone(), key.der().clone_key())?
            }
            _ => config.with_no_client_auth(),
        })
    }

    /// The `Authorization` header, with the token as it is now.
    pub(super) async fn authorization(&self) -> anyhow::Result<Option<HeaderValue>> {
        let token = match &self.credentials {
            Credentials::Token(token) => token.clone(),
            Credentials::TokenFile(path) => Zeroizing::new(
                tokio::fs::read_to_string(path)
                    .await
                    .with_context(|| format!("can't read the token in {}", path.display()))?,
            ),
            Credentials::None | Credentials::Certificate(..) => return Ok(None),
        };
        let bearer = Zeroizing::new(format!("Bearer {}", token.trim()));
        let mut header = HeaderValue::from_str(&bearer).context("the token is none")?;
        header.set_sensitive(true);
        Ok(Some(header))
    }
}

impl Credentials {
    fn of(user: &AuthInfo) -> anyhow::Result<Self> {
        ensure!(
            user.exec.is_none()
                && user.auth_provider.is_none()
                && user.username.is_none()
                && user.impersonate.is_none(),
            "the kubeconfig's user has to have a token or a client certificate; exec, \
             auth-provider, username and impersonation are not used here"
        );
        if let Some(token) = &user.token {
            return Ok(Self::Token(Zeroizing::new(token.expose_secret().to_owned())));
        }
        if let Some(file) = &user.token_file {
            return Ok(Self::TokenFile(file.into()));
        }
        let chain =
            pem(user.client_certificate_data.as_deref(), user.client_certificate.as_deref())
                .context("client-certificate")?;
        let key_data = user.client_key_data.as_ref().map(ExposeSecret::expose_secret);
        let key = pem(key_data, user.client_key.as_deref()).context("client-key")?;
        let (Some(chain), Some(key)) = (chain, key) else {
            return Ok(Self::None);
        };
        Ok(Self::Certificate(
            inspect::certificates(&chain).context("client-certificate")?,
            PrivateKey::from_pem(&key).context("client-key")?,
        ))
    }
}

/// PEM out of a kubeconfig: as base64 in it, or in a file that it names.
fn pem(data: Option<&str>, file: Option<&str>) -> anyhow::Result<Option<Zeroizing<Vec<u8>>>> {
    Ok(match (data, file) {
        (Some(data), _) => Some(STANDARD.decode(data).context("not base64")?.into()),
        (None, Some(file)) => Some(std::fs::read(file).with_context(|| file.to_owned())?.into()),
        (None, None) => None,
    })
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("server", &self.server).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    async fn access(user: Value) -> anyhow::Result<Access> {
        let kubeconfig = json!({
            "clusters": [{ "name": "c", "cluster": { "server": "https://[::1]:6443" } }],
            "users": [{ "name": "u", "user": user }],
            "contexts": [{ "name": "x", "context": { "cluster": "c", "user": "u", "namespace": "n" } }],
            "current-context": "x",
        });
        let kubeconfig = serde_json::from_value(kubeconfig)?;
        let options = KubeConfigOptions::default();
        Access::of(Config::from_custom_kubeconfig(kubeconfig, &options).await?)
    }

    #[tokio::test]
    async fn a_token_becomes_a_header_that_is_not_printed() {
        let found = access(json!({ "token": "t0p" })).await.unwrap();
        let header = found.authorization().await.unwrap().unwrap();
        assert_eq!(header, "Bearer t0p");
        assert_eq!(found.namespace, "n");
        assert_eq!(found.server_name().unwrap(), ServerName::try_from("::1").unwrap());
        assert!(!format!("{found:?} {header:?}").contains("t0p"));
    }

    #[tokio::test]
    async fn a_token_file_is_read_anew_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let found = access(json!({ "tokenFile": file })).await.unwrap();
        assert!(found.authorization().await.is_err());
        for token in ["one", "two"] {
            std::fs::write(&file, format!("{token}\n")).unwrap();
            let header = found.authorization().await.unwrap().unwrap();
            assert_eq!(header, format!("Bearer {token}"));
        }
    }

    #[tokio::test]
    async fn what_is_not_used_here_is_refused_and_not_passed_over() {
        for user in [
            json!({ "exec": { "command": "login" } }),
            json!({ "auth-provider": { "name": "gcp", "config": {} } }),
            json!({ "username": "u", "password": "p" }),
            json!({ "token": "t", "as": "somebody" }),
            json!({ "client-certificate-data": "no base64", "client-key-data": "" }),
            json!({ "client-certificate": "/no/such/file", "client-key-data": "" }),
        ] {
            assert!(access(user.clone()).await.is_err(), "{user}");
        }
        assert!(access(json!({})).await.unwrap().authorization().await.unwrap().is_none());
    }
}
