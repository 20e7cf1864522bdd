//! The patterns of nginx's `include`, which are those of the shell. Pure.

/// Whether a pattern finds a path. `*`, `?` and `[…]` match neither `/` nor a leading dot.
pub(super) fn finds(pattern: &str, path: &str) -> bool {
    let mut patterns = pattern.split('/').filter(|part| !part.is_empty());
    let mut parts = path.split('/').filter(|part| !part.is_empty());
    loop {
        match (patterns.next(), parts.next()) {
            (None, None) => return true,
            (Some(pattern), Some(part)) => {
                let hidden = part.starts_with('.') && !pattern.starts_with('.');
                if hidden || !part_matches(pattern.as_bytes(), part.as_bytes()) {
                    return false;
                }
            }
            _ => return false,
        }
    }
}

fn part_matches(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            (0..=text.len()).any(|skipped| part_matches(rest, &text[skipped..]))
        }
        (Some((b'?', rest)), Some((_, text))) => part_matches(rest, text),
        (Some((b'[', rest)), Some((byte, text))) => match set(rest, *byte) {
            Some((found, rest)) => found && part_matches(rest, text),
            None => *byte == b'[' && part_matches(rest, text),
        },
        (Some((wanted, rest)), Some((byte, text))) => wanted == byte && part_matches(rest, text),
        _ => false,
    }
}

/// Whether a byte is in the set that begins here, and what comes behind it; `None` when it has no
/// end and the bracket means itself.
fn set(pattern: &[u8], byte: u8) -> Option<(bool, &[u8])> {
    let (negated, start) = match pattern.first() {
        Some(b'!' | b'^') => (true, 1),
        _ => (false, 0),
    };
    // A bracket right at the beginning is a member of the set.
    let end = (start + 1..pattern.len()).find(|&at| pattern[at] == b']')?;
    let members = &pattern[start..end];
    let mut found = false;
    let mut at = 0;
    while at < members.len() {
        if at + 2 < members.len() && members[at + 1] == b'-' {
            found |= (members[at]..=members[at + 2]).contains(&byte);
            at += 3;
        } else {
            found |= members[at] == byte;
            at += 1;
        }
    }
    Some((found != negated, &pattern[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_find_what_the_shell_would_find() {
        for (pattern, path, found) in [
            ("/etc/up/*.conf", "/etc/up/web.conf", true),
            ("/etc/up/*.conf", "/etc/up/.web.conf.tmp", false),
            ("/etc/up/*.conf", "/etc/up/.web.conf", false),
            ("/etc/up/*", "/etc/up/.web.conf", false),
            ("/etc/up/*.conf", "/etc/up/web.location", false),
            ("/etc/up/*.conf", "/etc/up/deep/web.conf", false),
            ("/etc/*/*.conf", "/etc/up/web.conf", true),
            ("/etc/up//web.conf", "/etc/up/web.conf", true),
            ("/etc/up/we?.conf", "/etc/up/web.conf", true),
            ("/etc/up/we[a-c].conf", "/etc/up/web.conf", true),
            ("/etc/up/we[!a-c].conf", "/etc/up/web.conf", false),
            ("/etc/up/web.[l]ocation", "/etc/up/web.location", true),
            ("/etc/up/we[b.conf", "/etc/up/we[b.conf", true),
            ("/etc/up/web.conf", "/etc/up/web.conf2", false),
            ("/etc/up", "/etc/up/web.conf", false),
        ] {
            assert_eq!(finds(pattern, path), found, "{pattern} {path}");
        }
    }
}
