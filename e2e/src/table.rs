//! Figures as people compare them: percentiles, and tables in Markdown.

use std::fmt;
use std::time::Duration;

/// Rows of cells, the first of which is the head.
#[derive(Debug)]
pub(crate) struct Table(Vec<Vec<String>>);

impl Table {
    pub(crate) fn new(head: &[&str]) -> Self {
        Self(vec![head.iter().map(|name| (*name).to_owned()).collect()])
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.push(cells.into_iter().collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| {
            let cells = self.0.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        };
        let columns = self.0.first().map_or(0, Vec::len);
        for (number, row) in self.0.iter().enumerate() {
            for (column, cell) in row.iter().enumerate() {
                write!(f, "| {cell:width$} ", width = width(column))?;
            }
            writeln!(f, "|")?;
            if number == 0 {
                (0..columns)
                    .try_for_each(|column| write!(f, "| {} ", "-".repeat(width(column))))?;
                writeln!(f, "|")?;
            }
        }
        Ok(())
    }
}

/// The smallest of the sorted values that `percent` of them don't exceed (nearest rank).
pub(crate) fn percentile<T: Copy>(sorted: &[T], percent: usize) -> Option<T> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// The same of times, in whatever order, for each of `percents`; zero where there are none.
pub(crate) fn percentiles<const N: usize>(
    mut times: Vec<Duration>,
    percents: [usize; N],
) -> [Duration; N] {
    times.sort_unstable();
    percents.map(|percent| percentile(&times, percent).unwrap_or_default())
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    percentile(&values, 50).unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values = |count: u64| (1..=count).collect::<Vec<_>>();
        for (count, percent, wanted) in [
            (50, 0, 1),
            (50, 50, 25),
            (50, 99, 50),
            (20, 50, 10),
            (1, 50, 1),
            (200, 99, 198),
            (100, 99, 99),
        ] {
            assert_eq!(percentile(&values(count), percent), Some(wanted), "{percent} of {count}");
        }
        assert_eq!(percentile::<u64>(&[], 50), None);
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["", "p50"]);
        table.row(["classic".to_owned(), "1".to_owned()]);
        let expected = "|         | p50 |\n| ------- | --- |\n| classic | 1   |\n";
        assert_eq!(table.to_string(), expected);
    }
}
