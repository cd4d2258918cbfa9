use super::reason::{Place, Reason};
use crate::sidecar::Mode;

/// Chooses the mode, which may be asked for somewhere; `ends` says whether the pod ends by itself.
///
/// A pod that runs on gets classic: the kubelet starts containers only after a native sidecar runs, so
/// Legacy would wait for the sidecar's image and for the kubelet's next look at the pod. A pod that
/// ends gets native: a classic sidecar, which never exits, would keep it from ending.
pub(super) fn choose(asked: Option<Mode>, place: Place, ends: bool) -> Result<Mode, Reason> {
    match (asked, ends) {
        (Some(Mode::Classic), true) => Err(Reason::ClassicInPodThatEnds { place }),
        (Some(mode), _) => Ok(mode),
        (None, true) => Ok(Mode::Native),
        (None, false) => Ok(Mode::Classic),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_follows_the_annotation_and_the_restart_policy() {
        for (asked, ends, expected) in [
            (None, false, Ok(Mode::Classic)),
            (None, true, Ok(Mode::Native)),
            (Some(Mode::Native), false, Ok(Mode::Native)),
            (Some(Mode::Native), true, Ok(Mode::Native)),
            (Some(Mode::Classic), false, Ok(Mode::Classic)),
            (Some(Mode::Classic), true, Err(Reason::ClassicInPodThatEnds { place: Place::Pod })),
        ] {
            assert_eq!(choose(asked, Place::Pod, ends), expected, "{asked:?}, {ends}");
        }
    }
}
