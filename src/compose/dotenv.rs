//! The format of `.env` files.

use std::collections::BTreeSet;

use super::interpolate::{VariableMap, substitute};

/// A mistake in an env file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DotenvError {
    /// Its line, counted from 1.
    pub(crate) line: usize,
    /// What is wrong with it.
    pub(crate) message: String,
}

/// Reads an env file. `outer` are the variables that are set already: they win over what the file
/// says, also where one value refers to another. `earlier` are those of files read before.
pub(crate) fn parse(
    text: &str,
    outer: &VariableMap,
    earlier: &VariableMap,
    unset: &mut BTreeSet<String>,
) -> Result<VariableMap, DotenvError> {
    read(text, outer, earlier, unset, true)
}

/// Reads the `env_file` of a service: what it says wins over the variables that are set, which fill in
/// names without a value and what values refer to; what has no value is added to `unset`.
pub(crate) fn parse_for_service(
    text: &str,
    variables: &VariableMap,
    unset: &mut BTreeSet<String>,
) -> Result<VariableMap, DotenvError> {
    read(text, variables, &VariableMap::new(), unset, false)
}

fn read(
    text: &str,
    outer: &VariableMap,
    earlier: &VariableMap,
    unset: &mut BTreeSet<String>,
    outer_wins: bool,
) -> Result<VariableMap, DotenvError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = text.replace("\r\n", "\n");
    let mut known = earlier.clone();
    known.extend(outer.clone());
    let mut reader = DotenvReader {
        rest: &text,
        line: 1,
        outer,
        outer_wins,
        known,
        found: VariableMap::new(),
        unset,
    };
    while reader.skip_to_statement() {
        reader.statement()?;
    }
    let mut found = reader.found;
    found.retain(|name, _| !name.starts_with(|c: char| c.is_ascii_digit()));
    Ok(found)
}

struct DotenvReader<'a> {
    rest: &'a str,
    line: usize,
    outer: &'a VariableMap,
    outer_wins: bool,
    /// What a value may refer to: outer ones, then those found, then earlier ones.
    known: VariableMap,
    found: VariableMap,
    unset: &'a mut BTreeSet<String>,
}

impl<'a> DotenvReader<'a> {
    fn error<T>(&self, message: impl Into<String>) -> Result<T, DotenvError> {
        Err(DotenvError {
            line: self.line,
            message: message.into(),
        })
    }

    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(length);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }

    fn skip_to_statement(&mut self) -> bool {
        loop {
            let spaces = self.rest.len() - self.rest.trim_start().len();
            self.take(spaces);
            if !self.rest.starts_with('#') {
                return !self.rest.is_empty();
            }
            let comment = self.rest.find('\n').unwrap_or(self.rest.len());
            self.take(comment);
        }
    }

    fn skip_blanks(&mut self) {
        let blanks = self
            .rest
            .find(|c: char| c == '\n' || !c.is_whitespace())
            .unwrap_or(self.rest.len());
        self.take(blanks);
    }

    fn statement(&mut self) -> Result<(), DotenvError> {
        if let Some(after) = self.rest.strip_prefix("export")
            && after.starts_with([' ', '\t'])
        {
            self.take("export".len());
            self.skip_blanks();
        }
        let end = self.rest.find(['=', ':', '\n']).unwrap_or(self.rest.len());
        let key = self.rest[..end].trim_end();
        let allowed = |c: char| c.is_alphanumeric() || c.is_whitespace() || "_.-[]".contains(c);
        if let Some(char) = key.chars().find(|c| !allowed(*c)) {
            return self.error(format!("unexpected character {char:?} in the name {key:?}"));
        }
        if key.contains(char::is_whitespace) {
            return self.error(format!("the name {key:?} contains a space"));
        }
        if key.is_empty() {
            return self.error("expected a name before the value");
        }
        self.take(end);
        let value = if self.rest.starts_with(['=', ':']) {
            self.take(1);
            self.skip_blanks();
            Some(self.value()?)
        } else {
            None
        };
        // A name alone has the outer value.
        let outer = self.outer.get(key).cloned();
        let value = if self.outer_wins {
            outer.or(value)
        } else {
            value.or(outer)
        };
        if value.is_none() && !self.outer_wins {
            self.unset.insert(key.to_owned());
        }
        if let Some(value) = value {
            if !self.outer.contains_key(key) {
                self.known.insert(key.to_owned(), value.clone());
            }
            self.found.insert(key.to_owned(), value);
        }
        Ok(())
    }

    fn value(&mut self) -> Result<String, DotenvError> {
        if let Some(quote @ ('"' | '\'')) = self.rest.chars().next() {
            return self.quoted(quote);
        }
        let end = self.rest.find('\n').unwrap_or(self.rest.len());
        let line = &self.rest[..end];
        let value = line.split_once(" #").map_or(line, |(value, _)| value);
        let value = self.expand(value.trim_end())?;
        self.take(end);
        Ok(value)
    }

    fn quoted(&mut self, quote: char) -> Result<String, DotenvError> {
        let mut value = String::new();
        let mut escaped = false;
        for (at, char) in self.rest.char_indices().skip(1) {
            if escaped {
                escaped = false;
                if char != quote {
                    value.push('\\');
                }
                value.push(char);
            } else if char == '\\' {
                escaped = true;
            } else if char == quote {
                if quote == '"' {
                    value = self.expand(&escapes(&value))?;
                }
                self.take(at + 1);
                return Ok(value);
            } else {
                value.push(char);
            }
        }
        let line = self.rest.lines().next().unwrap_or_default();
        self.error(format!("unterminated quoted value {line}"))
    }

    fn expand(&mut self, value: &str) -> Result<String, DotenvError> {
        substitute(value, &self.known, self.unset).or_else(|error| self.error(error.to_string()))
    }
}

/// Replaces `\n` and its like; `\$` becomes `$$`, which interpolation turns into `$`.
fn escapes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        if char != '\\' {
            out.push(char);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('a') => out.push('\u{7}'),
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('v') => out.push('\u{b}'),
            Some('"') => out.push('"'),
            Some('\\') | None => out.push('\\'),
            Some('$') => out.push_str("$$"),
            Some(other) => {
                out.push('\\');
                out.push(other);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<String> {
        let outer = VariableMap::from([("OUTER".to_owned(), "o".to_owned())]);
        let found = parse(text, &outer, &VariableMap::new(), &mut BTreeSet::new()).unwrap();
        found.iter().map(|(k, v)| format!("{k}={v}")).collect()
    }

    fn error(text: &str) -> String {
        let error = parse(
            text,
            &VariableMap::new(),
            &VariableMap::new(),
            &mut BTreeSet::new(),
        )
        .unwrap_err();
        format!("{}: {}", error.line, error.message)
    }

    #[test]
    fn every_form_of_an_assignment_is_read() {
        for (text, expected) in [
            ("A=1", "A=1"),
            ("export A=1", "A=1"),
            ("A: v", "A=v"),
            ("A = v # comment", "A=v"),
            ("A=a#b", "A=a#b"),
            ("A='single $X' # c", "A=single $X"),
            ("A=\"x\\ny\"", "A=x\ny"),
            ("A=\"two\nlines\"", "A=two\nlines"),
            ("A=\"a \\\"b\\\" \\$c\"", "A=a \"b\" $c"),
            ("A='it\\'s'", "A=it's"),
            (r#"A="x\\n""#, r"A=x\n"),
            (r"A='x\n'", r"A=x\n"),
            ("A=", "A="),
            ("OUTER=mine", "OUTER=o"),
            ("OUTER\n", "OUTER=o"),
            ("1A=x\nB=y", "B=y"),
        ] {
            assert_eq!(read(text), [expected], "{text}");
        }
    }

    #[test]
    fn values_refer_to_earlier_ones_and_outer_ones_win() {
        assert_eq!(
            read("A=1\nOUTER=2\nB=${A}-$OUTER-${C:-d}\n"),
            ["A=1", "B=1-o-d", "OUTER=o"]
        );
    }

    #[test]
    fn the_file_of_a_service_wins_over_what_is_set_outside() {
        let outer = VariableMap::from([("OUTER".to_owned(), "o".to_owned())]);
        let mut unset = BTreeSet::new();
        let found = parse_for_service("OUTER=mine\nB=${OUTER}\n", &outer, &mut unset).unwrap();
        let shown: Vec<_> = found.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(shown, ["B=o", "OUTER=mine"]);
        let named = parse_for_service("OUTER\nGONE\n", &outer, &mut unset).unwrap();
        assert_eq!(named, outer);
        assert_eq!(unset, BTreeSet::from(["GONE".to_owned()]));
    }

    #[test]
    fn mistakes_have_a_line() {
        insta::assert_snapshot!(error("A=1\n\nB C=2\n"), @r#"3: the name "B C" contains a space"#);
        insta::assert_snapshot!(error("# c\nA=\"x\n"), @r#"2: unterminated quoted value "x"#);
        insta::assert_snapshot!(error("A%=1"), @r#"1: unexpected character '%' in the name "A%""#);
        insta::assert_snapshot!(error("A=1\nB=${}\n"), @r#"2: invalid interpolation format in "${}"; to mean a literal $, write $$"#);
    }
}
