//! What of a text from outside may reach a terminal.

/// Whether a character shows itself and nothing more: no control character, which could be the start of
/// an escape sequence, and none that turns the direction of a text or takes no place (Unicode's
/// `Bidi_Control`, separators, joiners, the byte order mark).
pub(crate) fn is_visible(char: char) -> bool {
    !char.is_control()
        && !matches!(
            char,
            '\u{61c}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_on_is_not_visible() {
        for (char, visible) in [
            ('a', true),
            ('ä', true),
            ('…', true),
            ('\u{1b}', false),
            ('\u{9b}', false),
            ('\n', false),
            ('\u{202e}', false),
            ('\u{2066}', false),
            ('\u{2028}', false),
            ('\u{feff}', false),
        ] {
            assert_eq!(is_visible(char), visible, "{char:?}");
        }
    }
}
