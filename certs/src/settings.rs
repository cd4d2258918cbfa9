//! How long everything lives, as flags and as numbers.

use std::time::Duration;

use clap::Args;

use crate::duration::{parse, show};
use crate::validity::CLOCK_SKEW;

/// The flags for how long certificates live. The defaults need no thought.
#[derive(Debug, Clone, Args)]
pub struct LifeArgs {
    /// How long a serving certificate lives; a new one is signed at two thirds of it
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = parse)]
    pub cert_life: Duration,
    /// How long a CA lives; the next one is introduced at two thirds of it
    #[arg(long, value_name = "DURATION", default_value = "365d", value_parser = parse)]
    pub ca_life: Duration,
    /// How long a caBundle must have been seen unchanged before a new CA in it signs: time for the
    /// caches of all API servers to catch up
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse)]
    pub ca_settle: Duration,
    /// The difference between two clocks to be prepared for: certificates are valid from so long
    /// before they are made
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse)]
    pub clock_skew: Duration,
    /// How often the Secret and the webhook configuration are read again, changes apart
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse)]
    pub cert_resync: Duration,
}

/// How long everything lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// A serving certificate's life.
    pub leaf_life: Duration,
    /// A CA's life.
    pub ca_life: Duration,
    /// How long a caBundle must have been seen unchanged before a new CA in it signs.
    pub settle: Duration,
    /// The difference between two clocks to be prepared for.
    pub skew: Duration,
    /// The pause between two looks at the cluster when nothing happens.
    pub resync: Duration,
    /// The pauses after a failed look: from the first, doubled each time, up to the second.
    pub retry: (Duration, Duration),
}

/// Settings that cannot work together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The serving certificate would be replaced all the time.
    #[error("--cert-life {} is too short, 10 s is the least", show(*.0))]
    LeafTooShort(Duration),
    /// A CA would end before its successor has taken over.
    #[error(
        "--ca-life {} is too short for --cert-life, --ca-settle and --clock-skew: a rotation \
         needs a third of it, so it must be at least {}", show(*.is), show(*.least)
    )]
    CaTooShort {
        /// The life that was asked for.
        is: Duration,
        /// The shortest that works.
        least: Duration,
    },
    /// A pause of nothing would keep the API server busy.
    #[error("--cert-resync {} is too short, 1 s is the least", show(*.0))]
    ResyncTooShort(Duration),
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            leaf_life: Duration::from_secs(24 * 3_600),
            ca_life: Duration::from_secs(365 * 24 * 3_600),
            settle: Duration::from_secs(30),
            skew: CLOCK_SKEW,
            resync: Duration::from_secs(10),
            retry: (Duration::from_millis(500), Duration::from_secs(30)),
        }
    }
}

impl Settings {
    /// How long the old CA stays in the caBundle after the new one has taken over: until every
    /// leaf of it must have ended, whichever replica signed it and by whatever clock.
    #[must_use]
    pub fn retirement(&self) -> Duration {
        self.leaf_life.saturating_add(self.skew.saturating_mul(3))
    }

    /// How long another replica may take to put back a Secret that was lost: until each has looked.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.resync.saturating_mul(5) / 4
    }

    /// Checks that a rotation fits into a CA's life.
    ///
    /// # Errors
    /// [`SettingsError`] names the flag and what it must be.
    pub fn check(self) -> Result<Self, SettingsError> {
        if self.leaf_life < Duration::from_secs(10) {
            return Err(SettingsError::LeafTooShort(self.leaf_life));
        }
        if self.resync < Duration::from_secs(1) {
            return Err(SettingsError::ResyncTooShort(self.resync));
        }
        let rotation = self.retirement().saturating_add(self.settle).saturating_add(self.skew);
        let least = rotation.saturating_mul(3);
        if self.ca_life < least {
            return Err(SettingsError::CaTooShort { is: self.ca_life, least });
        }
        Ok(self)
    }
}

impl TryFrom<&LifeArgs> for Settings {
    type Error = SettingsError;

    fn try_from(args: &LifeArgs) -> Result<Self, SettingsError> {
        Self {
            leaf_life: args.cert_life,
            ca_life: args.ca_life,
            settle: args.ca_settle,
            skew: args.clock_skew,
            resync: args.cert_resync,
            ..Self::default()
        }
        .check()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        life: LifeArgs,
    }

    fn parsed(args: &[&str]) -> Result<Settings, SettingsError> {
        let cli = Cli::parse_from([&["x"], args].concat());
        Settings::try_from(&cli.life)
    }

    #[test]
    fn the_flags_defaults_are_the_defaults() {
        assert_eq!(parsed(&[]), Ok(Settings::default()));
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_flag_to_change() {
        let refused = [
            (&["--cert-life=5s"][..], "--cert-life"),
            (&["--cert-resync=500ms"], "--cert-resync"),
            (&["--ca-life=48h"], "--ca-life"),
            (&["--ca-settle=200d"], "--ca-life"),
            (&["--clock-skew=100d"], "--ca-life"),
        ];
        for (args, flag) in refused {
            let error = parsed(args).unwrap_err().to_string();
            assert!(error.contains(flag), "{args:?}: {error}");
        }
        let quick = ["--cert-life=10s", "--ca-life=2m", "--ca-settle=2s", "--clock-skew=5s"];
        parsed(&quick).unwrap();
    }
}
