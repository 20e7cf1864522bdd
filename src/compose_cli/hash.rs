//! The configuration hash of a service, from what `config --format json` prints: sha256 of the
//! service as compact JSON, in compose's order of keys and with Go's escapes, without what may change
//! while a container stays the same.
//!
//! `config --hash` is not asked: it is wrong for services with an `env_file`.

use std::fmt::Write as _;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::units::hex;

/// Keys of a service that its containers do not depend on.
const LEFT_OUT: [&str; 5] = ["build", "pull_policy", "scale", "depends_on", "profiles"];

/// The hash, in hex; `None` when the service is not in the document.
pub(super) fn of(document: &str, service: &str) -> Option<String> {
    let mut document: Value = serde_json::from_str(document).ok()?;
    let service = document.get_mut("services")?.get_mut(service)?;
    let keys = service.as_object_mut()?;
    for key in LEFT_OUT {
        keys.shift_remove(key);
    }
    if let Some(deploy) = keys.get_mut("deploy").and_then(Value::as_object_mut) {
        deploy.shift_remove("replicas");
    }
    let text = undoubled(service.take()).to_string();
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(escaped, "\\u{:04x}", u32::from(char));
            }
            char => escaped.push(char),
        }
    }
    Some(hex(&Sha256::digest(escaped.as_bytes())))
}

/// The document can be read again as a compose file, so each `$` is doubled in it.
fn undoubled(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace("$$", "$")),
        Value::Array(items) => items.into_iter().map(undoubled).collect(),
        Value::Object(map) => map
            .into_iter()
            .map(|(key, value)| (key.replace("$$", "$"), undoubled(value)))
            .collect(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_containers_do_not_depend_on_is_left_out() {
        let hash = |extra: &str| {
            of(
                &format!(r#"{{"services":{{"web":{{"command":null,{extra}"image":"a"}}}}}}"#),
                "web",
            )
        };
        let plain = hash("").unwrap();
        assert_eq!(plain.len(), 64);
        for same in [
            r#""build":{"context":"."},"#,
            r#""scale":3,"#,
            r#""depends_on":{"db":{"condition":"service_started"}},"#,
        ] {
            assert_eq!(hash(same).as_ref(), Some(&plain), "{same}");
        }
        assert_ne!(hash(r#""init":true,"#), Some(plain));
        assert_eq!(of("{}", "web"), None);
    }

    #[test]
    fn text_is_written_as_go_writes_it() {
        let document =
            r#"{"services":{"web":{"command":["a <b> & $$c"],"deploy":{"replicas":2}}}}"#;
        let expected = r#"{"command":["a \u003cb\u003e \u0026 $c"],"deploy":{}}"#;
        let digest = hex(&Sha256::digest(expected.as_bytes()));
        assert_eq!(of(document, "web"), Some(digest));
    }
}
