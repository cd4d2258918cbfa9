//! The pod's two ports on a machine that isn't a pod.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result};
use injection::keys;
use lab::network;
use serde_json::{Value, json};
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
    pub(crate) fn note(&self, deployment: &mut Value) {
        let (legacy, health) = (self.legacy, self.health);
        if (legacy, health) == USUAL {
            return;
        }
        screen::say(format_args!(
            "Legacy gets port {legacy} here, not 3000, and the sidecar {health}, not 13300: two annotations."
        ));
        let annotations = &mut deployment["spec"]["template"]["metadata"]["annotations"];
        annotations[keys::PORT] = json!(legacy.to_string());
        annotations[keys::HEALTH_PORT] = json!(health.to_string());
        add_flags(deployment, &[format!("-listen=:{legacy}")]);
    }
}

/// Adds flags for Legacy.
pub(crate) fn add_flags(deployment: &mut Value, flags: &[String]) {
    let arguments = &mut deployment["spec"]["template"]["spec"]["containers"][0]["args"];
    let mut all = arguments.as_array().cloned().unwrap_or_default();
    all.extend(flags.iter().map(|flag| json!(flag)));
    if !all.is_empty() {
        *arguments = all.into();
    }
}

/// Claims this port or, where it is taken, a free one.
fn claim(port: u16) -> Result<TcpSocket> {
    // A machine may have no IPv6.
    let any: IpAddr = match TcpSocket::new_v6() {
        Ok(_) => Ipv6Addr::UNSPECIFIED.into(),
        Err(_) => Ipv4Addr::UNSPECIFIED.into(),
    };
    let claim = |port| network::claim((any, port).into());
    claim(port).or_else(|_| claim(0)).context("there is no free port")
}
