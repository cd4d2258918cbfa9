use serde::Deserialize;

use super::Endpoint;
use super::borrowed::Text;
use crate::decision::Reason;
use crate::decision::workload::WorkloadKind;

/// An AdmissionReview, with an object of the type that is expected. The rest of it, the user who
/// asks and the old object among it, is skipped unread.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Review<'a, O> {
    #[serde(borrow, default)]
    pub(super) api_version: Text<'a>,
    #[serde(borrow, default)]
    pub(super) kind: Text<'a>,
    #[serde(borrow)]
    pub(super) request: Option<Request<'a, O>>,
}

/// The request in an AdmissionReview.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Request<'a, O> {
    #[serde(borrow, default)]
    pub(super) uid: Text<'a>,
    #[serde(borrow, default)]
    pub(super) kind: GroupKind<'a>,
    #[serde(borrow)]
    pub(super) sub_resource: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) name: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) namespace: Option<Text<'a>>,
    #[serde(borrow, default)]
    pub(super) operation: Text<'a>,
    pub(super) object: Option<O>,
}

/// The kind of the object, after the API server converted it to what the webhook asked for.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct GroupKind<'a> {
    #[serde(borrow)]
    pub(super) group: Text<'a>,
    #[serde(borrow)]
    pub(super) kind: Text<'a>,
}

impl<O> Request<'_, O> {
    /// Why the object needn't be looked at, if so.
    pub(super) fn not_for(&self, endpoint: Endpoint) -> Option<Reason<'static>> {
        let kind_fits = match endpoint {
            Endpoint::Pods => self.is_pod(),
            Endpoint::Workloads => self.workload_kind().is_some(),
        };
        let operation_fits = match endpoint {
            Endpoint::Pods => *self.operation == *"CREATE",
            Endpoint::Workloads => matches!(&*self.operation, "CREATE" | "UPDATE"),
        };
        if self.sub_resource.as_deref().is_some_and(|name| !name.is_empty()) {
            Some(Reason::Subresource)
        } else if !kind_fits {
            Some(Reason::OtherKind)
        } else if !operation_fits {
            Some(Reason::OtherOperation)
        } else {
            None
        }
    }

    fn is_pod(&self) -> bool {
        self.kind.group.is_empty() && *self.kind.kind == *"Pod"
    }

    /// The kind of workload that the request is about.
    pub(super) fn workload_kind(&self) -> Option<WorkloadKind> {
        WorkloadKind::of(&self.kind.group, &self.kind.kind)
    }

    /// The namespace, if the request names one.
    pub(super) fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref().filter(|namespace| !namespace.is_empty())
    }

    /// The kind as one of a few fixed texts.
    pub(super) fn kind_name(&self) -> &'static str {
        if self.is_pod() {
            return "Pod";
        }
        self.workload_kind().map_or("other", WorkloadKind::as_str)
    }

    /// The operation as one of a few fixed texts.
    pub(super) fn operation_name(&self) -> &'static str {
        ["CREATE", "UPDATE", "DELETE", "CONNECT"]
            .into_iter()
            .find(|name| *self.operation == **name)
            .unwrap_or("other")
    }
}
