//! Whether a pod is back with its new sidecar.

use super::pod::{Pod, PodSidecar, Trouble};

/// The troubles that end the wait: the kubelet has failed more than once, or can't succeed.
const HOPELESS: [&str; 5] = [
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "ErrImageNeverPull",
    "ImagePullBackOff",
    "InvalidImageName",
];

/// How a pod stands after its sidecar's image was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stand {
    /// It is Ready with the new sidecar.
    Back,
    /// Not yet, and what it waits for.
    Waits(String),
    /// It does not come back, and why.
    Failed(String),
    /// It has been deleted, or has ended: whoever made it makes another.
    Gone,
}

/// Compares a pod with what it was when its image was changed.
pub(super) fn stand(before: &Pod, now: Option<&Pod>) -> Stand {
    // A StatefulSet's next pod has the same name.
    let Some(now) = now.filter(|now| now.uid == before.uid) else {
        return Stand::Gone;
    };
    let (Some(old), Some(new)) = (&before.sidecar, &now.sidecar) else {
        return Stand::Failed("the pod has no sidecar any more".to_owned());
    };
    // What the kubelet last said of the old image is still there for a moment, in these words or others.
    let of_the_old_image = |trouble: &&Trouble| {
        old.trouble.is_some() && trouble.message.contains(&format!("\"{}\"", old.image))
    };
    let trouble = new.trouble.as_ref().filter(|trouble| old.trouble.as_ref() != Some(trouble));
    if let Some(trouble) = trouble.filter(|trouble| !of_the_old_image(trouble)) {
        return if HOPELESS.contains(&&*trouble.reason) {
            Stand::Failed(trouble.to_string())
        } else {
            Stand::Waits(trouble.to_string())
        };
    }
    match new {
        // The image that the runtime names may be another tag of the same: it is no evidence.
        PodSidecar { running: Some(id), .. } if old.running.as_ref() == Some(id) => {
            Stand::Waits("the kubelet has not replaced the sidecar yet".to_owned())
        }
        PodSidecar { running: Some(_), .. } if now.ready => Stand::Back,
        PodSidecar { running: Some(_), .. } => {
            Stand::Waits("the new sidecar runs, and the pod is not Ready".to_owned())
        }
        _ => Stand::Waits("the new sidecar does not run yet".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(ready: bool, running: Option<&str>, trouble: Option<&str>) -> Pod {
        let trouble = trouble.and_then(|text| text.split_once(": "));
        let trouble = trouble.map(|(reason, message)| Trouble {
            reason: reason.to_owned(),
            message: message.to_owned(),
        });
        Pod {
            namespace: "n".to_owned(),
            name: "p".to_owned(),
            uid: "u".to_owned(),
            version: "1".to_owned(),
            workload: "deploy/a".parse().unwrap(),
            ready,
            sidecar: Some(PodSidecar {
                native: false,
                image: "i".to_owned(),
                running: running.map(str::to_owned),
                trouble,
            }),
        }
    }

    #[test]
    fn a_pod_is_back_when_it_is_ready_with_another_container() {
        let runs = pod(true, Some("1"), None);
        let broken = pod(false, None, Some("ImagePullBackOff: x:1"));
        let waits = |text: &str| Stand::Waits(text.to_owned());
        let failed = |text: &str| Stand::Failed(text.to_owned());
        for (before, now, expected) in [
            (
                &runs,
                pod(true, Some("1"), None),
                waits("the kubelet has not replaced the sidecar yet"),
            ),
            (&runs, pod(false, None, None), waits("the new sidecar does not run yet")),
            (&runs, pod(true, None, None), waits("the new sidecar does not run yet")),
            (
                &runs,
                pod(false, Some("2"), None),
                waits("the new sidecar runs, and the pod is not Ready"),
            ),
            (&runs, pod(true, Some("2"), None), Stand::Back),
            (&runs, pod(false, None, Some("Completed: ")), waits("Completed")),
            (&runs, pod(false, None, Some("ErrImagePull: x:2")), waits("ErrImagePull: x:2")),
            (
                &runs,
                pod(false, None, Some("ImagePullBackOff: x:2")),
                failed("ImagePullBackOff: x:2"),
            ),
            (&runs, pod(true, None, Some("CrashLoopBackOff: ")), failed("CrashLoopBackOff")),
            (&broken, broken.clone(), waits("the new sidecar does not run yet")),
            (
                &broken,
                pod(false, None, Some("ImagePullBackOff: x:2")),
                failed("ImagePullBackOff: x:2"),
            ),
            (&broken, pod(true, Some("1"), None), Stand::Back),
            (
                &broken,
                pod(false, None, Some("ErrImagePull: failed to pull \"i\"")),
                waits("the new sidecar does not run yet"),
            ),
        ] {
            assert_eq!(stand(before, Some(&now)), expected, "{now:?}");
        }
    }

    #[test]
    fn a_pod_that_is_replaced_is_gone() {
        let before = pod(true, Some("1"), None);
        let next = Pod { uid: "v".to_owned(), ..pod(true, Some("2"), None) };
        assert_eq!(stand(&before, Some(&next)), Stand::Gone);
        assert_eq!(stand(&before, None), Stand::Gone);
        let bare = Pod { sidecar: None, ..before.clone() };
        assert!(matches!(stand(&before, Some(&bare)), Stand::Failed(_)));
    }
}
