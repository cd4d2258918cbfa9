use super::Reason;

/// What the annotation `secret-handshake/mode` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Preference {
    Auto,
    Native,
    Classic,
}

/// As which kind of container the sidecar joins the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The last of `initContainers`, with `restartPolicy: Always` (KEP-753): the kubelet ends it
    /// when the pod's own containers have ended.
    Native,
    /// The last of `containers`.
    Classic,
}

impl Mode {
    /// `native` or `classic`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Classic => "classic",
        }
    }
}

/// Chooses the mode; `restarts` says whether the kubelet always restarts the pod's containers.
///
/// Such a pod gets classic: the kubelet starts containers only after a native sidecar runs, so Legacy
/// would wait for the sidecar's image and for the kubelet's next look at the pod. A pod that ends
/// gets native: a classic sidecar, which never exits, would keep it from ending.
pub(super) fn choose(preference: Preference, restarts: bool) -> Result<Mode, Reason<'static>> {
    match (preference, restarts) {
        (Preference::Auto | Preference::Classic, true) => Ok(Mode::Classic),
        (Preference::Auto, false) | (Preference::Native, _) => Ok(Mode::Native),
        (Preference::Classic, false) => Err(Reason::ClassicInPodThatEnds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_follows_the_annotation_and_the_restart_policy() {
        for (preference, restarts, expected) in [
            (Preference::Auto, true, Ok(Mode::Classic)),
            (Preference::Auto, false, Ok(Mode::Native)),
            (Preference::Native, true, Ok(Mode::Native)),
            (Preference::Native, false, Ok(Mode::Native)),
            (Preference::Classic, true, Ok(Mode::Classic)),
            (Preference::Classic, false, Err(Reason::ClassicInPodThatEnds)),
        ] {
            assert_eq!(choose(preference, restarts), expected, "{preference:?}, {restarts}");
        }
    }
}
