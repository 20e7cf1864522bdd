//! A JSON pointer (RFC 6901) as a path of GJSON, which KEDA reads JSON with.

/// The path; `None` for one with an empty key, which GJSON cannot name.
pub(super) fn gjson(pointer: &str) -> Option<String> {
    if pointer.is_empty() {
        return Some("@this".to_owned());
    }
    let keys = pointer.strip_prefix('/')?.split('/');
    let keys = keys.map(|key| {
        let key = key.replace("~1", "/").replace("~0", "~");
        (!key.is_empty()).then(|| escaped(&key))
    });
    Some(keys.collect::<Option<Vec<_>>>()?.join("."))
}

/// Anything that GJSON might take for one of its signs gets a backslash, as its own `Escape` does.
fn escaped(key: &str) -> String {
    let mut path = String::new();
    for c in key.chars() {
        let safe = c <= ' ' || c > '~' || c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | ':');
        if !safe {
            path.push('\\');
        }
        path.push(c);
    }
    path
}
