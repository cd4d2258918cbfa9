//! The label that decides, looked for before anything else is read: what nobody asked for may look like
//! anything.

use anyhow::bail;
use injection::{WorkloadKind, keys};

use crate::manifest::Value;

/// The labels of a pod, or of a workload and its pod template.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Labels {
    pub(crate) pod: Option<String>,
    /// The nearest one above the pod template.
    pub(crate) workload: Option<String>,
}

/// The labels of an object; without a kind it is a pod.
pub(crate) fn of(object: &Value, kind: Option<WorkloadKind>) -> anyhow::Result<Labels> {
    let Some(kind) = kind else {
        return Ok(Labels { pod: at(object, &[])?, workload: None });
    };
    let pod = at(object, kind.template_path())?;
    let own = at(object, &[])?;
    // A Job has the metadata of its CronJob's template, so that a label there is the Job's own.
    let from_job = if kind == WorkloadKind::CronJob { at(object, JOB)? } else { None };
    Ok(Labels { pod, workload: from_job.or(own) })
}

/// Where a CronJob says what its Jobs are like.
const JOB: &[&str] = &["spec", "jobTemplate"];

/// The value of the label of the object at `path`.
pub(crate) fn at(object: &Value, path: &[&str]) -> anyhow::Result<Option<String>> {
    let label = path
        .iter()
        .chain(&["metadata", "labels", keys::LABEL])
        .try_fold(object, |value, member| value.get(member));
    match label {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(value)) => Ok(Some(value.clone())),
        Some(_) => {
            let path = [path, &["metadata", "labels"]].concat().join(".");
            bail!("{path}.{}: a label's value is a string: write it in quotes", keys::LABEL)
        }
    }
}
