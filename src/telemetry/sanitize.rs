//! Text from outside on its way to a terminal: names, log lines and errors that containers and the
//! Engine make up must not be able to move the cursor, rename the window or hide a line.

use std::{borrow::Cow, fmt::Write as _};

/// The text with everything that a terminal would obey spelled out (`\u{1b}`). Line ends and tabs
/// stay.
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for char in text.chars() {
        if is_obeyed(char) {
            let _ = write!(out, "{}", char.escape_unicode());
        } else {
            out.push(char);
        }
    }
    Cow::Owned(out)
}

/// The same for JSON. It escapes the control characters of ASCII by itself; what else a terminal obeys is
/// inside of strings, where an escape means the same.
pub fn plain_json(json: &str) -> Cow<'_, str> {
    if !json.contains(is_obeyed) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len() + 8);
    for char in json.chars() {
        if is_obeyed(char) {
            let _ = write!(out, "\\u{:04x}", u32::from(char));
        } else {
            out.push(char);
        }
    }
    Cow::Owned(out)
}

/// Control characters, the eight-bit ones too, and those that turn the direction of writing.
fn is_obeyed(char: char) -> bool {
    (char.is_control() && !matches!(char, '\n' | '\t'))
        || matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_spelled_out() {
        let hostile = "a\u{1b}[2Jb\u{7}c\rd\u{9b}31me\u{202e}f\u{7f}";
        assert_eq!(
            plain(hostile),
            r"a\u{1b}[2Jb\u{7}c\u{d}d\u{9b}31me\u{202e}f\u{7f}"
        );
    }

    #[test]
    fn json_has_no_character_that_a_terminal_obeys() {
        let value = serde_json::json!("a\u{9b}2J\u{7f}\u{202e}é");
        let text = value.to_string();
        let text = plain_json(&text);
        assert_eq!(text, r#""a\u009b2J\u007f\u202eé""#);
        let read: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(read, value);
        assert!(matches!(plain_json("{\n}"), Cow::Borrowed(_)));
    }

    #[test]
    fn everything_else_stays_as_it_is() {
        let text = "déjà → vu\n\tzwei";
        assert!(matches!(plain(text), Cow::Borrowed(same) if same == text));
    }
}
