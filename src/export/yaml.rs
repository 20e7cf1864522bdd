//! Objects as YAML that readers of YAML 1.1 and 1.2 take for the same: kubectl reads 1.1, where `yes`
//! is no text and `12:30` a number, and `serde_yaml` writes 1.2.

use std::fmt::Write as _;

use serde_json::Value;

use super::{Object, Remark};

/// An object with its remarks as comments above it.
pub fn document(object: &Object) -> String {
    let mut text = comments(
        &object.remarks.iter().collect::<Vec<_>>(),
        "Does not carry over:",
    );
    text += &comments(&object.notes.iter().collect::<Vec<_>>(), "To look at:");
    block(&object.value, 0, &mut text);
    text
}

/// Any value as a document.
pub fn plain(value: &Value) -> String {
    let mut text = String::new();
    block(value, 0, &mut text);
    text
}

/// Remarks as comments; nothing where there are none.
pub fn comments(remarks: &[&Remark], heading: &str) -> String {
    if remarks.is_empty() {
        return String::new();
    }
    let mut text = format!("# {heading}\n");
    for Remark { place, what, fix } in remarks {
        // A comment ends with its line.
        let line = |text: &str| text.replace(|c: char| c.is_control(), " ");
        let _ = writeln!(text, "#   {}: {}", line(place), line(what));
        let _ = writeln!(text, "#     → {}", line(fix));
    }
    text
}

/// A map or a list at an indent, or a scalar.
fn block(value: &Value, indent: usize, text: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                let _ = write!(text, "{:indent$}{}:", "", key_text(key));
                below(value, indent, text);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                let _ = write!(text, "{:indent$}-", "");
                let mut inner = String::new();
                if matches!(item, Value::Object(map) if !map.is_empty()) {
                    // The first key stands behind the dash.
                    block(item, indent + 2, &mut inner);
                    let _ = write!(text, " {}", inner.trim_start_matches(' '));
                } else {
                    below(item, indent, text);
                }
            }
        }
        scalar => {
            let _ = writeln!(text, "{:indent$}{}", "", flow(scalar));
        }
    }
}

/// What stands behind a key or a dash.
fn below(value: &Value, indent: usize, text: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            text.push('\n');
            block(value, indent + 2, text);
        }
        Value::Array(items) if !items.is_empty() => {
            text.push('\n');
            block(value, indent + 2, text);
        }
        Value::String(lines) if is_block(lines) => literal(lines, indent + 2, text),
        other => {
            let _ = writeln!(text, " {}", flow(other));
        }
    }
}

fn key_text(key: &str) -> String {
    flow(&Value::String(key.to_owned()))
}

fn flow(value: &Value) -> String {
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        // JSON's strings are YAML's, but for characters that YAML wants escaped.
        Value::String(_) => escaped(&value.to_string()),
        other => other.to_string(),
    }
}

/// JSON leaves some characters as they are that YAML takes for no text, or for the end of a line.
fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        let as_is = !c.is_control()
            && !matches!(
                c,
                // What ends a line or is no character, and what turns a terminal's text around.
                '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
            );
        if as_is {
            text.push(c);
        } else {
            let _ = write!(text, "\\u{:04x}", u32::from(c));
        }
    }
    text
}

/// Whether a text needs no quotes in any release of YAML: it begins with a letter or `/`, or is an amount
/// like `250m`; it has nothing that YAML reads as punctuation, and is no word for something else.
fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 12] = [
        "true", "false", "yes", "no", "on", "off", "y", "n", "null", "nan", "inf", "none",
    ];
    const UNITS: [&str; 7] = ["m", "Ki", "Mi", "Gi", "Ti", "k", "M"];
    let digits = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let is_amount = digits.len() < text.len() && UNITS.contains(&digits);
    // A colon is one of a map only before a space or at the end.
    let inside = |c: char| c.is_ascii_alphanumeric() || ".-_/:@".contains(c);
    let is_word = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        && text.chars().all(inside)
        && !text.ends_with(':')
        && !WORDS.contains(&text.to_ascii_lowercase().as_str());
    is_word || is_amount
}

/// Whether a text reads better line by line, and comes back as it is.
fn is_block(text: &str) -> bool {
    let printable = |c: char| {
        c == '\n' || c == '\t' || (!c.is_control() && escaped(&c.to_string()).len() == c.len_utf8())
    };
    text.trim_end_matches('\n').contains('\n')
        && text.chars().all(printable)
        // The indent is found by the first line that is not empty.
        && !text.starts_with([' ', '\n', '\t'])
}

fn literal(lines: &str, indent: usize, text: &mut String) {
    let body = lines.trim_end_matches('\n');
    let ends = lines.len() - body.len();
    let keep = match ends {
        0 => "-",
        1 => "",
        _ => "+",
    };
    let _ = writeln!(text, " |{keep}");
    for line in body.split('\n') {
        if line.is_empty() {
            text.push('\n');
        } else {
            let _ = writeln!(text, "{:indent$}{line}", "");
        }
    }
    for _ in 1..ends {
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_yaml_1_1_takes_for_something_else_is_quoted() {
        for text in [
            "yes",
            "No",
            "on",
            "12:30",
            "0777",
            "1_000",
            "0x1f",
            "1e3",
            "",
            "~",
            "null",
            "2026-11-26",
            "- a",
            "a: b",
            "a #b",
            "*x",
            "&x",
            "!x",
            "%x",
            "@x",
            "`x",
            "=",
            "<<",
            "y",
            " a",
            "a ",
        ] {
            let yaml = plain(&json!({ "a": text }));
            assert_eq!(yaml, format!("a: {}\n", json!(text)), "{text}");
        }
        assert_eq!(plain(&json!({"a": "nginx"})), "a: nginx\n");
        for text in ["nginx:1.30", "250m", "128Mi", "/var/lib", "a@sha256:0f"] {
            assert_eq!(plain(&json!({ "a": text })), format!("a: {text}\n"));
        }
    }

    #[test]
    fn maps_lists_and_lines_look_like_what_one_writes() {
        let value = json!({
            "kind": "ConfigMap",
            "data": {"a.conf": "server {\n  listen 80;\n}\n", "empty": {}},
            "list": [{"name": "web", "ports": [80, 81]}, "b", []],
        });
        insta::assert_snapshot!(plain(&value), @r"
        kind: ConfigMap
        data:
          a.conf: |
            server {
              listen 80;
            }
          empty: {}
        list:
          - name: web
            ports:
              - 80
              - 81
          - b
          - []
        ");
    }

    #[test]
    fn a_remark_stays_in_its_comment() {
        let remark = Remark {
            place: "services.a\nkind: Evil".into(),
            what: "b".into(),
            fix: "c\r\nd".into(),
        };
        let text = comments(&[&remark], "Lost:");
        assert!(text.lines().all(|line| line.starts_with('#')), "{text}");
    }

    fn values() -> impl Strategy<Value = Value> {
        let text = prop_oneof![
            "[ -~\n\t]{0,40}",
            any::<String>(),
            "[a-z0-9:.\n -]{0,12}",
            Just("a\n\n b\n\n".to_owned()),
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            text.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::vec((text.clone(), inner), 0..5)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_value_comes_back_as_it_was(value in values()) {
            let text = plain(&value);
            let read: Value = serde_yaml::from_str(&text).unwrap();
            prop_assert_eq!(read, value, "{}", text);
        }
    }
}
