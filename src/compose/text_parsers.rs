//! Small texts with a grammar: command lines and Go's durations.

use std::time::Duration;

use crate::units::Span;

/// Splits a command line as compose does: on blanks, with quotes and backslashes, without a shell. It ends
/// where a shell would begin another command or a redirection.
pub(crate) fn split(text: &str) -> Result<Vec<String>, &'static str> {
    /// In what the next character stands.
    enum Within {
        Nothing,
        Quotes(char),
        /// Between backquotes, or in `$(…)`: kept as it is written.
        Substitution(char),
    }
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut within = Within::Nothing;
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        let is_digit = |word: &String| word.starts_with(|c: char| c.is_ascii_digit());
        match (char, &within) {
            ('\\', Within::Nothing | Within::Quotes('"') | Within::Substitution(_)) => {
                let next = chars.next();
                let next = next.ok_or("a character behind the last backslash")?;
                word.get_or_insert_default().push(next);
            }
            (' ' | '\t' | '\r' | '\n', Within::Nothing) => words.extend(word.take()),
            (';' | '&' | '|' | '<' | '>', Within::Nothing) => {
                // The number of what is redirected belongs to it.
                word = word.filter(|word| char != '>' || !is_digit(word));
                break;
            }
            ('"' | '\'', Within::Nothing) => {
                word.get_or_insert_default();
                within = Within::Quotes(char);
            }
            (char, Within::Quotes(quote)) if char == *quote => within = Within::Nothing,
            ('(', Within::Nothing) if word.as_ref().is_some_and(|word| word.ends_with('$')) => {
                word.get_or_insert_default().push(char);
                within = Within::Substitution(')');
            }
            ('(', Within::Nothing | Within::Substitution(')')) => {
                return Err("quotes around the parentheses; for a shell: [\"sh\", \"-c\", \"…\"]");
            }
            (char, _) => {
                within = match within {
                    Within::Nothing if matches!(char, '`' | ')') => Within::Substitution(char),
                    Within::Substitution(end) if char == end => Within::Nothing,
                    other => other,
                };
                word.get_or_insert_default().push(char);
            }
        }
    }
    match within {
        Within::Nothing => {}
        Within::Substitution(')') => return Err("a closing parenthesis"),
        _ => return Err("a closing quote"),
    }
    words.extend(word);
    Ok(words)
}

/// Reads a size as compose does, in bytes: `64m`, `1.5g`, `10 KiB`, `1000`.
pub(crate) fn size(text: &str) -> Option<u64> {
    let last = text.rfind(|c: char| c.is_ascii_digit() || matches!(c, '.' | ' '))?;
    let (number, unit) = match &text[last..=last] {
        " " => (&text[..last], &text[last + 1..]),
        _ => text.split_at(last + 1),
    };
    let number: f64 = number
        .parse()
        .ok()
        .filter(|n: &f64| n.is_finite() && *n >= 0.0)?;
    let unit = unit.to_ascii_lowercase();
    let factor = match unit.as_str() {
        "" | "b" => 0,
        unit => {
            let (letter, rest) = unit.split_at_checked(1)?;
            if !matches!(rest, "" | "b" | "ib") {
                return None;
            }
            1 + "kmgtp".find(letter)?
        }
    };
    Some((number * 1024_f64.powi(i32::try_from(factor).ok()?)) as u64)
}

/// Reads a duration as compose writes it: `1m30s`, `1.5s`, `300ms`, `2d`.
pub(crate) fn duration(text: &str) -> Option<Span> {
    if text == "0" {
        return Some(Span::default());
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return None;
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        total += number
            * match &rest[..letters] {
                "ns" => 1e-9,
                "us" | "µs" | "μs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                "d" => 86400.0,
                "w" => 604_800.0,
                _ => return None,
            };
        rest = &rest[letters..];
    }
    // Whole nanoseconds: 1.1 s is not exact as a float.
    Duration::try_from_secs_f64((total * 1e9).round() / 1e9)
        .ok()
        .map(Span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_are_split_without_a_shell() {
        for (text, expected) in [
            ("a  b", vec!["a", "b"]),
            ("sh -c 'a  \"b\" $C'", vec!["sh", "-c", "a  \"b\" $C"]),
            (r#"a "b \" c" d\ e"#, vec!["a", "b \" c", "d e"]),
            ("a '' b", vec!["a", "", "b"]),
            ("a '&&' b '>' c", vec!["a", "&&", "b", ">", "c"]),
            ("", vec![]),
        ] {
            let expected: Vec<_> = expected.into_iter().map(ToOwned::to_owned).collect();
            assert_eq!(split(text), Ok(expected), "{text}");
        }
        assert_eq!(split("a 'b"), Err("a closing quote"));
        assert_eq!(split("a `b"), Err("a closing quote"));
        assert_eq!(split("a ) b"), Err("a closing parenthesis"));
        for text in ["echo (hello)", "$(a (b))"] {
            assert!(split(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_command_ends_where_a_shell_would_begin_another() {
        for (text, expected) in [
            ("touch /ready; true", vec!["touch", "/ready"]),
            ("npm run build && npm start", vec!["npm", "run", "build"]),
            ("/init 2>/dev/null", vec!["/init"]),
            ("a2>b", vec!["a2"]),
            ("a=2>b", vec!["a=2"]),
            ("12>x", vec![]),
            ("; a", vec![]),
            ("a \"b;c\" d", vec!["a", "b;c", "d"]),
            ("a \\; b", vec!["a", ";", "b"]),
            ("a $(b c; d) e", vec!["a", "$(b c; d)", "e"]),
            ("a `b c; d` e", vec!["a", "`b c; d`", "e"]),
            ("a)b)c", vec!["a)b)c"]),
            ("printf \"a\\nb\"", vec!["printf", "anb"]),
        ] {
            let expected: Vec<_> = expected.into_iter().map(ToOwned::to_owned).collect();
            assert_eq!(split(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn sizes_are_those_of_compose() {
        for (text, bytes) in [
            ("64m", 64 << 20),
            ("64MiB", 64 << 20),
            ("64 mb", 64 << 20),
            ("1.5g", 3 << 29),
            ("1.g", 1 << 30),
            ("1t", 1 << 40),
            ("1p", 1 << 50),
            ("10 B", 10),
            ("1e3", 1000),
            ("0.5", 0),
        ] {
            assert_eq!(size(text), Some(bytes), "{text}");
        }
        for wrong in [
            "", "b", "-1", "64x", "m64", "1,5g", "5e", "64  m", "64mbb", "1e400",
        ] {
            assert_eq!(size(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn durations_are_those_of_go() {
        for (text, millis) in [
            ("10s", 10_000),
            ("1m30s", 90_000),
            ("1.5s", 1500),
            ("1h0m0.1s", 3_600_100),
            ("300ms", 300),
            ("1d2h", 93_600_000),
            ("0", 0),
            ("0s", 0),
            ("+1s", 1000),
            (".5s", 500),
            ("1.s", 1000),
        ] {
            assert_eq!(
                duration(text),
                Some(Span(Duration::from_millis(millis))),
                "{text}"
            );
        }
        for wrong in ["", "+", "10", "s", "-5s", "1x", "1s5", "1..5s", "1 s", "1M"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }
}
