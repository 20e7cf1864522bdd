//! The one line of `.env` that is changed: `COMPOSE_FILE`. Every other byte stays as it is.

use serde::{Deserialize, Serialize};

/// What was done to a `.env`, so that it can be taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DotenvEdit {
    /// The line before, without its end; `None` when there was none.
    pub was: Option<String>,
    /// The line now.
    pub is: String,
    /// Whether there was no such file.
    pub made: bool,
    /// Whether the last line had no end and got one.
    pub ended: bool,
}

impl DotenvEdit {
    /// The same, where it was made to a line of an earlier one: then the line before that one comes back.
    #[must_use]
    pub fn on_top_of(self, earlier: Option<&Self>) -> Self {
        match earlier {
            Some(earlier) if self.was.as_ref() == Some(&earlier.is) => Self {
                is: self.is,
                ..earlier.clone()
            },
            _ => self,
        }
    }
}

const NAME: &str = "COMPOSE_FILE";

/// Adds `file` to `COMPOSE_FILE` in the text of a `.env`. `files` are those of the project until now, for a
/// `.env` that does not list them, or, with `anew`, lists others. `None` when it is listed already.
pub fn add(
    text: Option<&str>,
    files: &[String],
    file: &str,
    separator: &str,
    anew: bool,
) -> Option<(String, DotenvEdit)> {
    let made = text.is_none();
    let text = text.unwrap_or_default();
    let all: Vec<&str> = files.iter().map(String::as_str).chain([file]).collect();
    let whole = format!("{NAME}={}", quoted(&all.join(separator)));
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let Some(at) = lines.iter().rposition(|line| value_at(line).is_some()) else {
        let ended = !text.is_empty() && !text.ends_with('\n');
        let new = format!("{text}{}{whole}\n", if ended { "\n" } else { "" });
        let edit = DotenvEdit {
            was: None,
            is: whole,
            made,
            ended,
        };
        return Some((new, edit));
    };
    let line = lines[at].strip_suffix('\n').unwrap_or(lines[at]);
    let value = value_at(line).unwrap_or(line.len());
    let end = value + end_of_value(&line[value..]);
    let written = line[value..end].trim_matches(['"', '\'']);
    if !anew && written.split(separator).any(|listed| is_same(listed, file)) {
        return None;
    }
    let is = if anew || written.is_empty() {
        whole + if line.ends_with('\r') { "\r" } else { "" }
    } else {
        let close = usize::from(line[value..end].ends_with(['"', '\'']));
        let (head, tail) = line.split_at(end - close);
        format!("{head}{separator}{file}{tail}")
    };
    if is == line {
        return None;
    }
    let mut new = lines[..at].concat();
    new += &is;
    new += &lines[at][line.len()..];
    new += &lines[at + 1..].concat();
    let edit = DotenvEdit {
        was: Some(line.to_owned()),
        is,
        made,
        ended: false,
    };
    Some((new, edit))
}

/// The line is not what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the line has been changed since")]
pub struct Changed;

/// Takes an edit back: the text of before, `None` for no file. An error when the line has changed since.
pub fn take_back(text: &str, edit: &DotenvEdit) -> Result<Option<String>, Changed> {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let is = |line: &&str| line.strip_suffix('\n').unwrap_or(line) == edit.is;
    let at = lines.iter().rposition(is).ok_or(Changed)?;
    let mut old = lines[..at].concat();
    match &edit.was {
        Some(was) => {
            old += was;
            old += &lines[at][edit.is.len()..];
        }
        None if edit.ended && at + 1 == lines.len() => {
            old.pop();
        }
        None => {}
    }
    old += &lines[at + 1..].concat();
    Ok((!(edit.made && old.is_empty())).then_some(old))
}

/// The value of `COMPOSE_FILE` in the text of a `.env`, as it is written there.
pub fn files(text: &str) -> Option<&str> {
    let line = text.lines().rfind(|line| value_at(line).is_some())?;
    let value = &line[value_at(line)?..];
    Some(value[..end_of_value(value)].trim_matches(['"', '\'']))
}

/// Where the value begins, in a line that sets the variable.
fn value_at(line: &str) -> Option<usize> {
    let mut rest = line.trim_start();
    if let Some(after) = rest.strip_prefix("export")
        && after.starts_with([' ', '\t'])
    {
        rest = after.trim_start();
    }
    let after = rest.strip_prefix(NAME)?.trim_start_matches([' ', '\t']);
    let value = after
        .strip_prefix(['=', ':'])?
        .trim_start_matches([' ', '\t']);
    Some(line.len() - value.len())
}

/// Where a value ends that begins here: behind its closing quote, or before a comment.
fn end_of_value(rest: &str) -> usize {
    if let Some(quote @ ('"' | '\'')) = rest.chars().next()
        && let Some(close) = rest[1..].find(quote)
    {
        return close + 2;
    }
    let value = rest.split_once(" #").map_or(rest, |(value, _)| value);
    value.trim_end().len()
}

fn is_same(listed: &str, file: &str) -> bool {
    listed.trim_start_matches("./") == file
}

/// A value as `.env` writes it.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-./:;,@%+~".contains(c);
    if value.chars().all(plain) {
        value.to_owned()
    } else {
        format!("'{value}'")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(text: Option<&str>) -> (String, DotenvEdit) {
        let files = ["compose.yaml".to_owned()];
        add(text, &files, "compose.scale.yaml", ":", false).unwrap()
    }

    #[test]
    fn it_is_appended_and_everything_else_stays_byte_for_byte() {
        for before in [
            None,
            Some(""),
            Some("A=b"),
            Some("A=b\n"),
            Some("A=b\r\n# c\r\n"),
            Some("A=b\n\n\n"),
        ] {
            let (after, edit) = added(before);
            let added = "COMPOSE_FILE=compose.yaml:compose.scale.yaml\n";
            let rest = after.strip_suffix(added).unwrap();
            assert_eq!(
                rest.trim_end_matches('\n'),
                before.unwrap_or_default().trim_end_matches('\n')
            );
            assert_eq!(
                take_back(&after, &edit).unwrap().as_deref(),
                before,
                "{after:?}"
            );
        }
    }

    #[test]
    fn a_list_is_extended_where_it_is_and_keeps_its_form() {
        for (before, after) in [
            (
                "COMPOSE_FILE=a.yml:b.yml",
                "COMPOSE_FILE=a.yml:b.yml:compose.scale.yaml",
            ),
            (
                "export COMPOSE_FILE = \"a.yml\" # mine\nX=1\n",
                "export COMPOSE_FILE = \"a.yml:compose.scale.yaml\" # mine\nX=1\n",
            ),
            (
                "A=1\nCOMPOSE_FILE: 'a.yml'\r\nB=2",
                "A=1\nCOMPOSE_FILE: 'a.yml:compose.scale.yaml'\r\nB=2",
            ),
            (
                "COMPOSE_FILE=a.yml # mine\n",
                "COMPOSE_FILE=a.yml:compose.scale.yaml # mine\n",
            ),
            (
                "COMPOSE_FILE=${BASE:-a.yml}\r\n",
                "COMPOSE_FILE=${BASE:-a.yml}:compose.scale.yaml\r\n",
            ),
            (
                "COMPOSE_FILE=old\nCOMPOSE_FILE=a\n",
                "COMPOSE_FILE=old\nCOMPOSE_FILE=a:compose.scale.yaml\n",
            ),
            (
                "COMPOSE_FILE=\n",
                "COMPOSE_FILE=compose.yaml:compose.scale.yaml\n",
            ),
        ] {
            let (text, edit) = added(Some(before));
            assert_eq!(text, after);
            assert_eq!(take_back(&text, &edit).unwrap().as_deref(), Some(before));
        }
    }

    #[test]
    fn what_is_listed_is_not_listed_twice_and_other_names_are_other_names() {
        let files = ["a".to_owned()];
        for text in [
            "COMPOSE_FILE=a:compose.scale.yaml",
            "COMPOSE_FILE='./compose.scale.yaml'\n",
        ] {
            assert_eq!(
                add(Some(text), &files, "compose.scale.yaml", ":", false),
                None
            );
        }
        let (text, _) = added(Some("# COMPOSE_FILE=x\nCOMPOSE_FILES=y\n"));
        assert!(text.ends_with("COMPOSE_FILES=y\nCOMPOSE_FILE=compose.yaml:compose.scale.yaml\n"));
    }

    #[test]
    fn lines_that_came_since_stay_and_a_changed_line_is_told() {
        let (text, edit) = added(Some("A=1"));
        let more = format!("{text}B=2\n");
        assert_eq!(take_back(&more, &edit).unwrap().unwrap(), "A=1\nB=2\n");
        assert_eq!(take_back("COMPOSE_FILE=else\n", &edit), Err(Changed));
        let (text, edit) = added(None);
        let more = format!("{text}B=2\n");
        assert_eq!(take_back(&more, &edit).unwrap().unwrap(), "B=2\n");
    }

    #[test]
    fn an_edit_of_an_edit_goes_back_to_the_line_before_both() {
        let (one, first) = added(Some("COMPOSE_FILE=a\n"));
        let (two, second) = add(Some(&one), &["b".to_owned()], "s", ":", true).unwrap();
        let both = second.clone().on_top_of(Some(&first));
        assert_eq!(take_back(&two, &both).unwrap().unwrap(), "COMPOSE_FILE=a\n");
        // A line that somebody else wrote in between is what comes back.
        let other = DotenvEdit {
            is: "COMPOSE_FILE=x".into(),
            ..first
        };
        assert_eq!(second.clone().on_top_of(Some(&other)), second);
    }

    #[test]
    fn what_is_listed_is_the_last_value_and_no_comment() {
        for (text, listed) in [
            ("A=1\n# COMPOSE_FILE=x\n", None),
            ("COMPOSE_FILE=x\nCOMPOSE_FILE='a:b' # c\nB=2\n", Some("a:b")),
            ("export COMPOSE_FILE=a # compose.scale.yaml", Some("a")),
        ] {
            assert_eq!(files(text), listed);
        }
    }

    #[test]
    fn another_list_replaces_the_one_that_is_there() {
        let files = ["x y.yml".to_owned()];
        let (text, edit) = add(Some("COMPOSE_FILE=a\n"), &files, "s", ":", true).unwrap();
        assert_eq!(text, "COMPOSE_FILE='x y.yml:s'\n");
        assert_eq!(
            take_back(&text, &edit).unwrap().unwrap(),
            "COMPOSE_FILE=a\n"
        );
    }
}
