//! Prometheus' text format, as far as the webhook writes it.

use std::collections::BTreeMap;

/// Samples by name and labels, as written: `name{label="value"}`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    pub fn parse(text: &str) -> Self {
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        Self(text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect())
    }

    pub fn add(&mut self, other: &Self) {
        for (name, value) in &other.0 {
            *self.0.entry(name.clone()).or_default() += value;
        }
    }

    /// The sum of all samples of a metric whose labels contain each of `labels`, written as
    /// `label="value"`. Zero if there are none.
    pub fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        self.0
            .iter()
            .filter(|(key, _)| {
                let (known, rest) = key.split_once('{').unwrap_or((key, ""));
                known == name && labels.iter().all(|label| rest.contains(label))
            })
            .map(|(_, value)| value)
            .sum()
    }

    /// The names and labels that begin with `name`, with their numbers.
    pub fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        self.0.iter().filter(move |(key, _)| key.starts_with(name)).map(|(k, v)| (k.as_str(), *v))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_by_their_labels() {
        let text = "# HELP a b\na_total{x=\"1\",y=\"2\"} 3\na_total{x=\"1\",y=\"3\"} 4\na_total_other 9\nb 1.5\n";
        let mut metrics = Metrics::parse(text);
        assert!((metrics.sum("a_total", &["x=\"1\""]) - 7.0).abs() < f64::EPSILON);
        assert!((metrics.sum("a_total", &["y=\"2\""]) - 3.0).abs() < f64::EPSILON);
        assert!(metrics.sum("a_total", &["y=\"9\""]).abs() < f64::EPSILON);
        metrics.add(&Metrics::parse("b 1\n"));
        assert!((metrics.sum("b", &[]) - 2.5).abs() < f64::EPSILON);
        assert_eq!(metrics.of("a_total").count(), 3);
    }
}
