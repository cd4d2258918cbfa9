/// A name or a key as a log, a warning or an annotation may show it: `?` for each character that is
/// not visible ASCII, and no more than `most` characters. Kubernetes takes no other names, but what
/// is shown here may come from a manifest that it never saw, or from somebody who isn't the API
/// server: a line break would forge a log line, an escape would reach a terminal.
#[must_use]
pub fn printable(name: &str, most: usize) -> String {
    let visible = |char: char| if char.is_ascii_graphic() { char } else { '?' };
    name.chars().take(most).map(visible).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_visible_ascii_stays() {
        assert_eq!(printable("kube-api-access.x/y_Z~1", 99), "kube-api-access.x/y_Z~1");
        assert_eq!(printable("a\nb\u{202e}c d\u{1b}[31m", 99), "a?b?c?d?[31m");
        assert_eq!(printable(&"ж".repeat(1_000_000), 3), "???");
    }
}
