//! What would change, as `diff -u` shows it.

use similar::TextDiff;

/// The difference between two states of a file; `None` is no file. Empty when there is none.
/// `context` are the lines around a change: none where others are nobody's business.
pub fn unified(path: &str, before: Option<&str>, after: Option<&str>, context: usize) -> String {
    if before == after {
        return String::new();
    }
    let name = |side: &str, there: bool| {
        if there {
            format!("{side}/{path}")
        } else {
            "/dev/null".to_owned()
        }
    };
    let (old, new) = (name("a", before.is_some()), name("b", after.is_some()));
    let diff = TextDiff::from_lines(before.unwrap_or_default(), after.unwrap_or_default());
    let text = diff
        .unified_diff()
        .context_radius(context)
        .header(&old, &new)
        .to_string();
    if text.is_empty() {
        // An empty file has no lines to show.
        return format!("--- {old}\n+++ {new}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_a_changed_and_a_removed_file_are_told_apart() {
        assert_eq!(
            unified("a", None, Some("x\n"), 3),
            "--- /dev/null\n+++ b/a\n@@ -0,0 +1 @@\n+x\n"
        );
        assert_eq!(
            unified("a", Some("x\n"), None, 3),
            "--- a/a\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n"
        );
        assert_eq!(unified("a", None, Some(""), 3), "--- /dev/null\n+++ b/a\n");
        assert_eq!(unified("a", Some("x\n"), Some("x\n"), 3), "");
    }

    #[test]
    fn without_context_no_other_line_is_shown() {
        let text = unified(".env", Some("KEY=secret\n"), Some("KEY=secret\nA=b\n"), 0);
        assert!(text.contains("+A=b"), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
}
