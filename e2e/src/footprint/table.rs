//! The table: what was measured, and the goal beside it.

use std::time::Duration;

use crate::table::{Table, percentiles};

#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(super) enum Quantity {
    /// Shown in MB, millions of bytes, as binaries are.
    Bytes(u64),
    Memory(u64),
    Time(Duration),
    Count(u64),
    Percent(f64),
}

impl Quantity {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    fn show(self) -> String {
        match self {
            Self::Bytes(bytes) => format!("{:.2} MB", bytes as f64 / 1e6),
            Self::Memory(bytes) => format!("{:.2} MiB", bytes as f64 / f64::from(1 << 20)),
            Self::Time(time) => format!("{:.2} ms", time.as_secs_f64() * 1e3),
            Self::Count(count) => count.to_string(),
            Self::Percent(percent) => format!("{percent:.2} %"),
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Row {
    what: String,
    /// The smallest, the middle one and the one that 99 of 100 don't exceed; or a single one.
    measured: Vec<Quantity>,
    /// The last of what was measured is at most this.
    goal: Option<Quantity>,
}

impl Row {
    pub(super) fn one(what: impl Into<String>, measured: Quantity, goal: Option<Quantity>) -> Self {
        Self { what: what.into(), measured: vec![measured], goal }
    }

    /// Of many times: minimum, median and 99th percentile, which is what the goal is for.
    pub(super) fn many(
        what: impl Into<String>,
        times: Vec<Duration>,
        goal: Option<Duration>,
    ) -> Self {
        let measured = percentiles(times, [0, 50, 99]).map(Quantity::Time).to_vec();
        Self { what: what.into(), measured, goal: goal.map(Quantity::Time) }
    }

    pub(super) fn is_missed(&self) -> bool {
        matches!((self.measured.last(), self.goal), (Some(worst), Some(goal)) if *worst > goal)
    }
}

pub(super) fn render(rows: &[Row]) -> Table {
    let mut table = Table::new(&["", "min", "p50", "p99", "at most", ""]);
    for row in rows {
        let mut cells: Vec<_> = row.measured.iter().map(|quantity| quantity.show()).collect();
        // A single value stands where the goal looks: under the last of the three.
        while cells.len() < 3 {
            cells.insert(0, String::new());
        }
        cells.insert(0, row.what.clone());
        cells.push(row.goal.map(Quantity::show).unwrap_or_default());
        let verdict = match (row.goal.is_some(), row.is_missed()) {
            (true, true) => "MISSED",
            (true, false) => "ok",
            (false, _) => "",
        };
        cells.push(verdict.to_owned());
        table.row(cells);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_for_the_last_column() {
        let ms = Duration::from_millis;
        let times = || vec![ms(9), ms(1), ms(2)];
        assert!(Row::many("x", times(), Some(ms(8))).is_missed());
        assert!(!Row::many("x", times(), Some(ms(9))).is_missed());
        assert!(!Row::many("x", times(), None).is_missed());
        let one = Row::one("binary", Quantity::Bytes(1_300_000), Some(Quantity::Bytes(1_300_000)));
        assert!(!one.is_missed());
        let text = render(&[one, Row::many("time", times(), Some(ms(8)))]).to_string();
        let lines: Vec<_> = text.lines().skip(2).collect();
        assert_eq!(lines[0], "| binary |         |         | 1.30 MB | 1.30 MB | ok     |");
        assert_eq!(lines[1], "| time   | 1.00 ms | 2.00 ms | 9.00 ms | 8.00 ms | MISSED |");
    }
}
