use std::time::Duration;

use humantime::format_duration;

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const HOUR: Duration = Duration::from_secs(3600);

/// Parses a duration as people write it, such as `500ms` or `1m 30s`, within limits that keep every sum
/// of durations within its own.
pub(super) fn within(
    least: Duration,
    most: Duration,
) -> impl Fn(&str) -> Result<Duration, String> + Clone + Send + Sync {
    move |text| match humantime::parse_duration(text) {
        Ok(duration) if (least..=most).contains(&duration) => Ok(duration),
        Ok(_) => Err(format!("must be {} to {}", format_duration(least), format_duration(most))),
        Err(error) => Err(error.to_string()),
    }
}
