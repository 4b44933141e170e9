//! From the operator's words, or the Pod's service account, to a client of the API.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use kube::config::{KubeConfigOptions, KubeconfigError};
use kube::{Client, Config};

use crate::Error;
use crate::error::chain;

/// Where the API is, and whose node this is.
#[derive(Clone, Debug)]
pub struct ApiOptions {
    /// The kubeconfig; its current context counts. Without it and without `master`, the service
    /// account of the Pod counts.
    pub kubeconfig: Option<PathBuf>,
    /// The URL of the API server, over that of the kubeconfig.
    pub master: Option<String>,
    /// The Node to watch.
    pub node_name: Arc<str>,
}

/// A client, and the API server's URL for messages.
///
/// Everything is read anew: files, certificates, tokens; a credential plugin is run.
///
/// # Errors
/// [`Error::Kubeconfig`], [`Error::InCluster`], [`Error::Master`] or [`Error::Client`].
pub(super) async fn client(options: &ApiOptions) -> Result<(Client, String), Error> {
    let mut config = match (&options.kubeconfig, &options.master) {
        (Some(path), _) => kubeconfig(path).await?,
        (None, Some(master)) => Config::new(parse(master)?),
        (None, None) => {
            Config::incluster().map_err(|error| Error::InCluster { cause: chain(&error) })?
        }
    };
    if let Some(master) = &options.master {
        config.cluster_url = parse(master)?;
    }
    if let Some(fault) = fault(&config) {
        let (url, cause) = (config.cluster_url.to_string(), fault.to_owned());
        return Err(match (&options.master, &options.kubeconfig) {
            (Some(master), _) => Error::Master { url: master.clone(), cause },
            (None, Some(path)) => Error::Kubeconfig {
                path: path.clone(),
                field: SERVER,
                cause: format!("{url:?}: {cause}"),
            },
            (None, None) => Error::InCluster { cause: format!("{url:?}: {cause}") },
        });
    }
    // The watch has its own patience, and honours what the server asks for.
    config.default_retry = false;
    let url = config.cluster_url.to_string().trim_end_matches('/').to_owned();
    let origin = match &options.kubeconfig {
        Some(path) => format!("the kubeconfig {}", path.display()),
        None if options.master.is_some() => "the URL alone".into(),
        None => "the service account".into(),
    };
    let failed = |cause| Error::Client { url: url.clone(), origin: origin.clone(), cause };
    // A credential plugin is a process that is waited for.
    let client = tokio::task::spawn_blocking(move || Client::try_from(config)).await;
    match client {
        Ok(Ok(client)) => Ok((client, url)),
        Ok(Err(error)) => Err(failed(chain(&error))),
        Err(error) => Err(failed(error.to_string())),
    }
}

fn parse<T: std::str::FromStr>(master: &str) -> Result<T, Error>
where
    T::Err: std::fmt::Display,
{
    let bad = |error: T::Err| Error::Master { url: master.into(), cause: error.to_string() };
    master.parse().map_err(bad)
}

/// What an API server's URL lacks.
fn fault(config: &Config) -> Option<&'static str> {
    let url = &config.cluster_url;
    if !matches!(url.scheme_str(), Some("http" | "https")) {
        return Some("it does not start with https:// or http://");
    }
    // The parser takes any text for a port.
    let host = url.host().unwrap_or_default();
    let port = url.authority().and_then(|all| all.as_str().rsplit_once(host));
    let has_port = port.is_some_and(|(_, port)| !port.is_empty());
    (has_port && url.port_u16().is_none()).then_some("its port is not a number up to 65535")
}

/// What an error is about that is about no field.
pub(super) const WHOLE: &str = "the file";

const SERVER: &str = "clusters[].cluster.server";

async fn kubeconfig(path: &Path) -> Result<Config, Error> {
    let bad = |error: KubeconfigError| Error::Kubeconfig {
        path: path.into(),
        field: field(&error),
        cause: chain(&error),
    };
    let read = super::kubeconfig::read(path)?;
    Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.map_err(bad)
}

/// The part of a kubeconfig that an error is about.
fn field(error: &KubeconfigError) -> &'static str {
    match error {
        KubeconfigError::CurrentContextNotSet => "current-context",
        KubeconfigError::LoadContext(_) => "contexts",
        KubeconfigError::LoadClusterOfContext(_) => "clusters",
        KubeconfigError::MissingClusterUrl | KubeconfigError::ParseClusterUrl(_) => SERVER,
        KubeconfigError::ParseProxyUrl(_) => "clusters[].cluster.proxy-url",
        KubeconfigError::LoadCertificateAuthority(_) | KubeconfigError::ParseCertificates(_) => {
            "clusters[].cluster.certificate-authority"
        }
        KubeconfigError::LoadClientCertificate(_) => "users[].user.client-certificate",
        KubeconfigError::LoadClientKey(_) => "users[].user.client-key",
        _ => WHOLE,
    }
}
