//! The API server, as the user's kubeconfig reaches it and with the rights that the user has.

use std::fmt::Debug;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::NamespaceResourceScope;
use kube::api::{Api, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, Resource};
use serde::de::DeserializeOwned;

/// For TCP and TLS together.
const CONNECT: Duration = Duration::from_secs(10);

/// For one answer. A page of a list is the longest.
const ANSWER: Duration = Duration::from_secs(30);

/// How many objects of a list are read at a time: kubectl's `--chunk-size`.
const PAGE: u32 = 500;

/// Which cluster, as kubectl's flags say it.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "The cluster")]
pub struct Connection {
    /// The kubeconfig file. Left out, as for kubectl: $KUBECONFIG, ~/.kube/config, or the pod's own
    /// service account
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// The context of the kubeconfig to use
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,

    /// The namespace. Left out, the context's own
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
}

/// A client for a cluster. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    /// kube's own.
    pub client: Client,
    /// The namespace that is meant where none is said.
    pub namespace: String,
}

/// Why something of the cluster could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The user has no right to: the rule that is missing, such as `get secrets in namespace legacy`.
    #[error("no permission to {0}")]
    Forbidden(String),
    /// Anything else that went wrong.
    #[error("{0}")]
    Failed(String),
}

impl Cluster {
    /// Sets up the client; it connects when it is first used.
    ///
    /// # Errors
    /// If there is no kubeconfig, or it can't be used.
    pub async fn connect(connection: &Connection) -> anyhow::Result<Self> {
        let options =
            KubeConfigOptions { context: connection.context.clone(), ..Default::default() };
        let mut config = match &connection.kubeconfig {
            Some(path) => {
                let read = Kubeconfig::read_from(path)
                    .with_context(|| format!("can't read the kubeconfig {}", path.display()))?;
                Config::from_custom_kubeconfig(read, &options).await
            }
            None if connection.context.is_some() => Config::from_kubeconfig(&options).await,
            None => return Self::of(Config::infer().await?, connection),
        }
        .context("the kubeconfig can't be used")?;
        config.default_retry = true;
        Self::of(config, connection)
    }

    fn of(mut config: Config, connection: &Connection) -> anyhow::Result<Self> {
        config.connect_timeout = Some(CONNECT);
        config.read_timeout = Some(ANSWER);
        let namespace = connection.namespace.clone();
        let namespace = namespace.unwrap_or_else(|| config.default_namespace.clone());
        let client =
            Client::try_from(config).context("can't set up a client for the API server")?;
        Ok(Self { client, namespace })
    }

    /// An object of a namespace; `None` if there is none of that name.
    ///
    /// # Errors
    /// If it can't be read.
    pub async fn get<K>(&self, namespace: &str, name: &str) -> Result<Option<K>, Unreadable>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
        K: Clone + Debug + DeserializeOwned,
    {
        let got = Api::<K>::namespaced(self.client.clone(), namespace).get_opt(name).await;
        got.map_err(|error| unreadable::<K>("get", Some(namespace), error))
    }

    /// An object that is in no namespace, or one that is a namespace; `None` if there is none of that name.
    ///
    /// # Errors
    /// If it can't be read.
    pub async fn get_cluster_wide<K>(&self, name: &str) -> Result<Option<K>, Unreadable>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let got = Api::<K>::all(self.client.clone()).get_opt(name).await;
        got.map_err(|error| unreadable::<K>("get", None, error))
    }

    /// Hands all objects that `params` choose to `each`, a page of 500 at a time, so that memory stays
    /// bounded however many there are: those of a namespace, or of all.
    ///
    /// # Errors
    /// If a page can't be read.
    pub async fn for_each<K>(
        &self,
        namespace: Option<&str>,
        params: &ListParams,
        mut each: impl FnMut(K),
    ) -> Result<(), Unreadable>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
        K: Clone + Debug + DeserializeOwned,
    {
        let api: Api<K> = match namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let mut params = params.clone().limit(PAGE);
        loop {
            let page = api.list(&params).await;
            let page = page.map_err(|error| unreadable::<K>("list", namespace, error))?;
            page.items.into_iter().for_each(&mut each);
            match page.metadata.continue_ {
                Some(token) if !token.is_empty() => params = params.continue_token(&token),
                _ => return Ok(()),
            }
        }
    }
}

/// What an error of kube means to a person.
#[must_use]
pub fn unreadable<K: Resource<DynamicType = ()>>(
    verb: &str,
    namespace: Option<&str>,
    error: kube::Error,
) -> Unreadable {
    match error {
        kube::Error::Api(status) if status.code == 403 => {
            let place = namespace.map(|name| format!(" in namespace {name}")).unwrap_or_default();
            Unreadable::Forbidden(format!("{verb} {}{place}", K::plural(&())))
        }
        kube::Error::Api(status) => Unreadable::Failed(status.message.clone()),
        error => {
            let error = anyhow::Error::from(error);
            Unreadable::Failed(format!("{error:#}"))
        }
    }
}
