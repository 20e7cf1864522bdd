//! A query that is asked for each replica, as one that is asked for all of them.

/// The mean over all pods of a Deployment of what a query gives for one replica: where it has the replica's address
/// or name in a matcher of a label, any of them fits. `None` where it has them elsewhere.
pub(super) fn mean(query: &str, name: &str) -> Option<String> {
    let mut all = String::new();
    let mut rest = query;
    while let Some(start) = rest.find(['"', '\'', '`']) {
        let (before, from) = rest.split_at(start);
        let quote = from.chars().next()?;
        let end = closing(from, quote)?;
        let (text, after) = (&from[1..end], &from[end + 1..]);
        if names_a_replica(text) {
            let operator = before.trim_end();
            let regex = operator.ends_with("=~");
            let plain = operator
                .strip_suffix('=')
                .filter(|one| !one.ends_with(['!', '=']));
            let text = if regex {
                text.to_owned()
            } else {
                all.push_str(plain?);
                all.push_str("=~");
                literal(text, quote)
            };
            if regex {
                all.push_str(before);
            }
            let text = text
                .replace("{replica}", "[^:]+")
                .replace("{name}", &format!("{name}-.+"));
            all.extend([quote.to_string(), text, quote.to_string()]);
        } else {
            all.push_str(before);
            all.push_str(&from[..=end]);
        }
        rest = after;
    }
    all.push_str(rest);
    (!names_a_replica(&all)).then(|| format!("avg({all})"))
}

fn names_a_replica(text: &str) -> bool {
    text.contains("{replica}") || text.contains("{name}")
}

/// Where the text that begins with a quote ends.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().skip(1).find_map(|(at, c)| {
        if escaped {
            escaped = false;
        } else if c == '\\' && quote != '`' {
            escaped = true;
        } else if c == quote {
            return Some(at);
        }
        None
    })
}

/// A text as a regular expression that only it fits, but for what stands for the replica.
fn literal(text: &str, quote: char) -> String {
    let backslash = if quote == '`' { "\\" } else { "\\\\" };
    let mut regex = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let stands_for = ["{replica}", "{name}"]
            .into_iter()
            .find(|one| rest.starts_with(one));
        let taken = stands_for.map_or(c.len_utf8(), str::len);
        if stands_for.is_none() && ".+*?()[]{}|^$".contains(c) {
            regex.push_str(backslash);
        }
        regex.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    regex
}
