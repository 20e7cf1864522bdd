//! Numbers and texts as the reports write them.

use crate::units::Short;

/// A share of a whole, with what is hardly there told from nothing.
pub(super) fn share(share: f64) -> String {
    let percent = share * 100.0;
    if percent <= 0.0 {
        "0%".into()
    } else if percent < 0.1 {
        "<0.1%".into()
    } else {
        format!("{}%", Short(percent))
    }
}

/// Milliseconds, or seconds from ten of them on.
pub(super) fn millis(ms: f64) -> String {
    if ms >= 10_000.0 {
        format!("{}s", Short(ms / 1000.0))
    } else {
        format!("{ms:.0}ms")
    }
}

/// With digits enough for a short time, too.
pub(super) fn hours(hours: f64) -> String {
    if hours < 10.0 {
        format!("{hours:.2}")
    } else {
        Short(hours).to_string()
    }
}

/// 1,234,567
pub(super) fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Nothing in a text is markup.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_is_markup() {
        assert_eq!(escaped("<b>&\"'"), "&lt;b&gt;&amp;&quot;&#39;");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(grouped(1_234_567.4), "1,234,567");
        assert_eq!(grouped(12.0), "12");
        assert_eq!(
            (millis(299.6), millis(12_345.0)),
            ("300ms".into(), "12.3s".into())
        );
        assert_eq!(
            (share(0.0), share(0.0002), share(0.123)),
            ("0%".into(), "<0.1%".into(), "12.3%".into())
        );
    }
}
