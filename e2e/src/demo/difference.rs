//! What the webhook has changed, as a person reads it.

use anyhow::Result;
use serde_json::Value;
use similar::{ChangeTag, TextDiff};

use super::screen::{self, Fate};

/// Lines that stay as they are, shown around each change.
const CONTEXT: usize = 2;

/// Shows the difference between two objects as YAML.
pub(crate) fn show(before: &Value, after: &Value) -> Result<()> {
    let (before, after) = (serde_saphyr::to_string(before)?, serde_saphyr::to_string(after)?);
    let difference = TextDiff::from_lines(&before, &after);
    for (number, group) in difference.grouped_ops(CONTEXT).iter().enumerate() {
        if number > 0 {
            screen::change(Fate::Kept, "…");
        }
        for change in group.iter().flat_map(|operation| difference.iter_changes(operation)) {
            let fate = match change.tag() {
                ChangeTag::Equal => Fate::Kept,
                ChangeTag::Insert => Fate::Added,
                ChangeTag::Delete => Fate::Removed,
            };
            screen::change(fate, change.value().trim_end_matches('\n'));
        }
    }
    Ok(())
}
