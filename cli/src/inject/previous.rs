//! The sidecar of an earlier injection, which is taken out before the next one: so an injected manifest
//! follows changed annotations, flags and versions.

use injection::{HALF_VOLUME, NO_TOKEN_VOLUME, SIDECAR, is_sidecars_argument};

use crate::manifest::Value;

/// Where it may be.
const LISTS: [&str; 2] = ["containers", "initContainers"];

/// Whether a pod or a pod template has the sidecar.
pub(crate) fn is_in(pod: &Value) -> bool {
    let spec = pod.get("spec");
    LISTS.iter().any(|list| match spec.and_then(|spec| spec.get(list)) {
        Some(Value::List(containers)) => containers.iter().any(is_sidecar),
        _ => false,
    })
}

/// Takes the sidecar and its volumes out of a pod or a pod template.
pub(crate) fn remove(pod: &mut Value) {
    let Some(Value::Map(spec)) = pod.get_mut("spec") else { return };
    let mut retain = |list: &str, keep: &dyn Fn(&Value) -> bool| {
        let Some(Value::List(items)) = spec.get_mut(list) else { return false };
        let before = items.len();
        items.retain(keep);
        let changed = items.len() < before;
        if changed && items.is_empty() {
            spec.shift_remove(list);
        }
        changed
    };
    let mut removed = false;
    for list in LISTS {
        removed |= retain(list, &|container| !is_sidecar(container));
    }
    if removed {
        let names = [HALF_VOLUME, NO_TOKEN_VOLUME];
        retain("volumes", &|volume| !names.iter().any(|name| is_named(volume, name)));
    }
}

/// Whether a container is the sidecar, and not another one of its name.
fn is_sidecar(container: &Value) -> bool {
    let Some(Value::List(arguments)) = container.get("args") else { return false };
    let mut arguments = arguments.iter().filter_map(Value::as_str);
    is_named(container, SIDECAR) && arguments.any(is_sidecars_argument)
}

fn is_named(value: &Value, name: &str) -> bool {
    value.get("name").and_then(Value::as_str) == Some(name)
}
