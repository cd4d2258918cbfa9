use super::{KubernetesVersion, Reason};

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
    Classic {
        /// Whether the sidecar exits after the handshake. Otherwise a pod that is meant to end
        /// would wait for the sidecar for ever.
        once: bool,
    },
}

impl Mode {
    /// `native` or `classic`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Classic { .. } => "classic",
        }
    }
}

/// Chooses the mode.
///
/// A pod that runs for ever gets classic: the kubelet starts containers only after a native
/// sidecar runs, so Legacy would wait for the sidecar's image and for the kubelet's next look at
/// the pod. One that ends gets native, as soon as every kubelet in the cluster must know it.
pub(super) fn choose(
    preference: Preference,
    runs_for_ever: bool,
    version: Option<KubernetesVersion>,
) -> Result<Mode, Reason<'static>> {
    let classic = Mode::Classic { once: !runs_for_ever };
    match preference {
        Preference::Classic => Ok(classic),
        Preference::Native => match version {
            // An API server that old would drop the restartPolicy, and the pod would wait for the
            // end of its init container for ever.
            Some(version) if version < KubernetesVersion::NATIVE_SIDECARS => {
                Err(Reason::NativeUnsupported { version })
            }
            _ => Ok(Mode::Native),
        },
        Preference::Auto => {
            let native_everywhere = version
                .is_some_and(|version| version >= KubernetesVersion::NATIVE_SIDECARS_EVERYWHERE);
            Ok(if !runs_for_ever && native_everywhere { Mode::Native } else { classic })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_follows_the_wish_the_restart_policy_and_the_version() {
        const FOR_EVER: bool = true;
        const ENDS: bool = false;
        let stays = Ok(Mode::Classic { once: false });
        let exits = Ok(Mode::Classic { once: true });
        let native = Ok(Mode::Native);
        let old = KubernetesVersion::new(1, 28);
        let unsupported = Err(Reason::NativeUnsupported { version: old });
        for (preference, runs_for_ever, expected) in [
            // In the order of the versions below.
            (Preference::Auto, FOR_EVER, [&stays, &stays, &stays, &stays, &stays, &stays]),
            (Preference::Auto, ENDS, [&exits, &exits, &exits, &exits, &native, &native]),
            (
                Preference::Native,
                FOR_EVER,
                [&native, &unsupported, &native, &native, &native, &native],
            ),
            (Preference::Native, ENDS, [&native, &unsupported, &native, &native, &native, &native]),
            (Preference::Classic, FOR_EVER, [&stays, &stays, &stays, &stays, &stays, &stays]),
            (Preference::Classic, ENDS, [&exits, &exits, &exits, &exits, &exits, &exits]),
        ] {
            let versions =
                [None, Some((1, 28)), Some((1, 29)), Some((1, 31)), Some((1, 32)), Some((1, 37))];
            for (version, expected) in versions.into_iter().zip(expected) {
                let version = version.map(|(major, minor)| KubernetesVersion::new(major, minor));
                let mode = choose(preference, runs_for_ever, version);
                assert_eq!(
                    mode, *expected,
                    "{preference:?}, runs for ever: {runs_for_ever}, {version:?}"
                );
            }
        }
    }
}
