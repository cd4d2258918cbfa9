//! What nearly every topic needs, so that it begins with what it promises.

pub(super) use std::time::{Duration, Instant};

pub(super) use anyhow::{Context as _, Result, bail, ensure};
pub(super) use lab::cluster::api::condition;
pub(super) use lab::until::until;
pub(super) use lab::{http, network};
pub(super) use serde_json::{Value, json};

pub(super) use super::objects::{
    NAME, annotated, in_mode, kept, labelled, limit_range, names, no_sidecar, object, pod,
    restricted_pod, sidecar, template, the_sidecar, workload,
};
pub(super) use super::running::{
    Caller, HALF, Route, Seen, address, container_status, first_listen, is_ready, legacy,
    legacy_deployment, log, namespace_with_half, ready, ready_app, ready_pods, restarted, restarts,
    running, service, set_half, sidecar_says, state_of,
};
pub(super) use super::scenario::scenarios;
pub(super) use super::scene::{LONG, PATIENCE, Scene};
pub(super) use crate::product::Product;
pub(super) use crate::product::install::{self, CONFIGURATION, NAMESPACE, WEBHOOK};
