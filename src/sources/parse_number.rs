//! A number in a text, or in JSON.

use serde_json::Value;

use super::{SourceError, excerpt, quoted};

/// The text, as a number.
pub(super) fn plain(text: &str) -> Result<f64, SourceError> {
    text.trim().parse().map_err(|_| SourceError::NoNumber {
        found: quoted(text),
    })
}

/// The number, or the text that is one, at a pointer (RFC 6901) of JSON.
pub(super) fn at_pointer(json: &str, pointer: &str) -> Result<f64, SourceError> {
    let document: Value = serde_json::from_str(json).map_err(|_| SourceError::NoJson {
        found: quoted(json),
    })?;
    let place = pointer.to_owned();
    match document.pointer(pointer) {
        None => Err(SourceError::NothingThere { pointer: place }),
        Some(Value::String(text)) => plain(text),
        Some(found) => found.as_f64().ok_or_else(|| SourceError::NoNumber {
            found: format!("`{}`", excerpt(&found.to_string())),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(read: Result<f64, SourceError>) -> String {
        match read {
            Ok(number) => number.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_number_may_have_white_space_around_it_and_nothing_else() {
        for (text, expected) in [
            ("42", "42"),
            (" 42.5\r\n", "42.5"),
            ("1e3", "1000"),
            ("-3", "-3"),
            ("NaN", "NaN"),
            ("+Inf", "inf"),
            ("(integer) 42", "no number in `(integer) 42`"),
            ("42 jobs", "no number in `42 jobs`"),
            ("1,5", "no number in `1,5`"),
            ("0x10", "no number in `0x10`"),
            (" \n", "no number in an empty text"),
            ("1\n2\n", "no number in `1`"),
            ("a\u{1b}[2Jb\nc", "no number in `a [2Jb`"),
        ] {
            assert_eq!(said(plain(text)), expected, "{text:?}");
        }
        let long = said(plain(&"x".repeat(5000)));
        assert_eq!(long.chars().count(), "no number in ``".len() + 121);
    }

    #[test]
    fn a_pointer_leads_to_a_number_or_to_a_text_that_is_one() {
        let json = r#"{"queue": {"depth": 12, "a/b": [1, {"m~n": "3.5"}]}, "up": true, "none": null, "s": "many"}"#;
        for (pointer, expected) in [
            ("/queue/depth", "12"),
            ("/queue/a~1b/1/m~0n", "3.5"),
            ("/up", "no number in `true`"),
            ("/none", "no number in `null`"),
            ("/queue/a~1b", r#"no number in `[1,{"m~n":"3.5"}]`"#),
            ("/s", "no number in `many`"),
            ("/queue/width", "nothing at `/queue/width` in the JSON"),
            ("/queue/a~1b/7", "nothing at `/queue/a~1b/7` in the JSON"),
        ] {
            assert_eq!(said(at_pointer(json, pointer)), expected, "{pointer}");
        }
        assert_eq!(said(at_pointer(" 7 ", "")), "7");
        assert_eq!(said(at_pointer("<html>\n", "/a")), "no JSON in `<html>`");
        assert_eq!(said(at_pointer("", "/a")), "no JSON in an empty text");
        // JSON has no number that is none.
        assert_eq!(
            said(at_pointer("{\"a\": NaN}", "/a")),
            "no JSON in `{\"a\": NaN}`"
        );
        assert_eq!(
            said(at_pointer("{\"a\": 1e999}", "/a")),
            "no JSON in `{\"a\": 1e999}`"
        );
    }
}
