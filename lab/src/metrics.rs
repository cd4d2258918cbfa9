//! Prometheus' text format, as far as the webhook writes it.

/// The sum of a metric's samples, whatever their labels; zero if there are none.
pub fn sum(text: &str, name: &str) -> f64 {
    let of_name = text.lines().filter_map(|line| line.strip_prefix(name));
    let samples = of_name.filter(|rest| rest.starts_with(['{', ' ']));
    samples.filter_map(|rest| rest.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_by_their_names() {
        let text = "# HELP a b\na_total{x=\"1\",y=\"2\"} 3\na_total{x=\"1\",y=\"3\"} 4\na_total_other 9\nb 1.5\n";
        for (name, expected) in [("a_total", 7.0), ("a_total_other", 9.0), ("b", 1.5), ("c", 0.0)] {
            assert!((sum(text, name) - expected).abs() < f64::EPSILON, "{name}");
        }
    }
}
