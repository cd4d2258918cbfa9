//! The pod's two ports on a machine that isn't a pod.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context as _, Result};
use injection::keys;
use k8s_openapi::api::apps::v1::Deployment;
use tokio::net::TcpSocket;

use super::screen;

const USUAL: (u16, u16) = (3000, 13300);

/// Both ports, claimed: nobody else is given them as free ones while this lives.
#[derive(Debug)]
pub(crate) struct Ports {
    pub(crate) legacy: u16,
    pub(crate) health: u16,
    _claims: [TcpSocket; 2],
}

impl Ports {
    /// The usual ones, or free ones where they are taken or not wanted.
    pub(crate) fn claim(usual: bool) -> Result<Self> {
        let wanted = if usual { USUAL } else { (0, 0) };
        let (legacy, health) = (claim(wanted.0)?, claim(wanted.1)?);
        Ok(Self {
            legacy: legacy.local_addr()?.port(),
            health: health.local_addr()?.port(),
            _claims: [legacy, health],
        })
    }

    /// Where they are not the usual ones: says so in the template, as a user would.
    pub(crate) fn note(&self, deployment: &mut Deployment) -> Result<()> {
        if (self.legacy, self.health) == USUAL {
            return Ok(());
        }
        let (legacy, health) = (self.legacy, self.health);
        screen::say(format_args!(
            "Legacy gets port {legacy} here, not 3000, and the sidecar {health}, not 13300: two annotations."
        ));
        let template = &mut deployment.spec.template;
        let metadata = template.metadata.get_or_insert_default();
        let annotations = metadata.annotations.get_or_insert_default();
        annotations.insert(keys::PORT.to_owned(), legacy.to_string());
        annotations.insert(keys::HEALTH_PORT.to_owned(), health.to_string());
        let spec = template.spec.as_mut().context("the template has no spec")?;
        let container = spec.containers.first_mut().context("the template has no container")?;
        container.args.get_or_insert_default().push(format!("-listen=:{legacy}"));
        Ok(())
    }
}

/// Binds the port and doesn't listen: Linux lets another socket with `SO_REUSEADDR` listen on it.
fn claim(port: u16) -> Result<TcpSocket> {
    bind(port).or_else(|_| bind(0)).context("there is no free port")
}

fn bind(port: u16) -> std::io::Result<TcpSocket> {
    let (socket, address) = match TcpSocket::new_v6() {
        Ok(socket) => (socket, SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))),
        // A machine without IPv6.
        Err(_) => (TcpSocket::new_v4()?, SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))),
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}
