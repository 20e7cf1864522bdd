//! `$VAR` and `${VAR…}` in values.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    error::Mistakes,
    tree::{KeyPath, Node, NodeValue, SourceLocation},
    variable_usage::Uses,
};

/// Set by whoever reads the files, to the name of the project.
const OWN: &str = "COMPOSE_PROJECT_NAME";

/// The longest value in bytes that variables can make. The kernel takes none over 128 KiB into a
/// process; thirty variables that each name the one before twice would be gigabytes.
const LONGEST: usize = 1 << 20;

/// Variables by name.
pub(crate) type VariableMap = BTreeMap<String, String>;

/// Why a text cannot be interpolated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TemplateError {
    /// A part of it is no template.
    #[error("invalid interpolation format in {0:?}; to mean a literal $, write $$")]
    Format(String),
    /// What came out grew beyond all measure.
    #[error("the value grows beyond {LONGEST} bytes; do its variables name each other?")]
    TooLong,
    /// `${NAME?…}` without a value.
    #[error("required variable {name} is missing a value{}", told(.message))]
    Required {
        /// The variable.
        name: String,
        /// What the file says about it.
        message: String,
    },
}

impl TemplateError {
    /// An error of the part of a text that begins here.
    fn format(part: &str) -> Self {
        let end = part.find('\n').unwrap_or(part.len());
        let line = part[..end].chars().take(MOST_SHOWN).collect();
        Self::Format(line)
    }

    /// The line of a text that it is about, counted from 0.
    fn line_in(&self, text: &str) -> usize {
        let part = match self {
            Self::Format(part) => part.clone(),
            Self::Required { name, .. } => format!("${{{name}"),
            Self::TooLong => String::new(),
        };
        let before = text.find(&part).map_or("", |at| &text[..at]);
        before.matches('\n').count()
    }
}

/// So much of a text is shown.
const MOST_SHOWN: usize = 60;

fn told(message: &str) -> String {
    if message.is_empty() {
        String::new()
    } else {
        format!(": {message}")
    }
}

/// Replaces the variables in a text; names that have no value are added to `unset`.
pub(crate) fn substitute(
    text: &str,
    variables: &VariableMap,
    unset: &mut BTreeSet<String>,
) -> Result<String, TemplateError> {
    nested(text, (variables, NameScope::Ours), unset, DEEPEST)
}

/// Whose variables the names in a text are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NameScope {
    /// Those of the environment, as compose has it.
    Ours,
    /// nginx's, which are in lower case; the others are those of the environment. Whether one is set does
    /// not matter: the same file means the same in every shell.
    Nginx,
}

impl NameScope {
    fn is_nginx(self, name: &str) -> bool {
        self == Self::Nginx && !name.contains(|c: char| c.is_ascii_uppercase())
    }
}

/// Defaults inside of defaults. Far from what anybody writes.
const DEEPEST: usize = 50;

fn nested(
    text: &str,
    of: (&VariableMap, NameScope),
    unset: &mut BTreeSet<String>,
    depth: usize,
) -> Result<String, TemplateError> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(TemplateError::format(text));
    };
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        if out.len() > LONGEST {
            return Err(TemplateError::TooLong);
        }
        out.push_str(&rest[..at]);
        let from = &rest[at..];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let end = closing_brace(after).ok_or_else(|| TemplateError::format(from))?;
            let inside = &after[..end];
            if of.1.is_nginx(inside) && name_length(inside) == inside.len() && end > 0 {
                out.extend(["${", inside, "}"]);
            } else {
                let whole = &from[..end + "${}".len()];
                out.push_str(&braced(inside, whole, of, unset, depth)?);
            }
            rest = &after[end + 1..];
        } else {
            let name = &rest[..name_length(rest)];
            if name.is_empty() || of.1.is_nginx(name) {
                out.extend(["$", name]);
                rest = &rest[name.len()..];
            } else {
                out.push_str(&value_of(name, of.0, unset));
                rest = &rest[name.len()..];
            }
        }
    }
    out.push_str(rest);
    if out.len() > LONGEST.max(text.len()) {
        return Err(TemplateError::TooLong);
    }
    Ok(out)
}

fn value_of(name: &str, variables: &VariableMap, unset: &mut BTreeSet<String>) -> String {
    variables.get(name).cloned().unwrap_or_else(|| {
        unset.insert(name.to_owned());
        String::new()
    })
}

fn name_length(text: &str) -> usize {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return 0;
    }
    text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(text.len())
}

/// The names behind each `$` of a text, those in defaults too.
pub(super) fn named(text: &str) -> impl Iterator<Item = String> {
    let literal = text.replace("$$", "");
    let after: Vec<String> = literal.split('$').skip(1).map(ToOwned::to_owned).collect();
    after.into_iter().filter_map(|after| {
        let after = after.strip_prefix('{').unwrap_or(&after);
        let name = &after[..name_length(after)];
        (!name.is_empty() && name != OWN).then(|| name.to_owned())
    })
}

/// The brace that closes an opened `${`. Only `${` opens another one: in `${A:-{x}}` the first
/// brace closes and the second is text.
fn closing_brace(text: &str) -> Option<usize> {
    let mut open = 1;
    let mut previous = ' ';
    for (at, char) in text.char_indices() {
        match char {
            '{' if previous == '$' => open += 1,
            '}' => {
                open -= 1;
                if open == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
        previous = char;
    }
    None
}

fn braced(
    inside: &str,
    whole: &str,
    of: (&VariableMap, NameScope),
    unset: &mut BTreeSet<String>,
    depth: usize,
) -> Result<String, TemplateError> {
    let (variables, _) = of;
    let wrong = || TemplateError::format(whole);
    let (name, operation) = inside.split_at(name_length(inside));
    if name.is_empty() {
        return Err(wrong());
    }
    if operation.is_empty() {
        return Ok(value_of(name, variables, unset));
    }
    let (unless_empty, operation) = operation
        .strip_prefix(':')
        .map_or((false, operation), |rest| (true, rest));
    let value = variables
        .get(name)
        .filter(|value| !unless_empty || !value.is_empty());
    let mut operator = operation.chars();
    let operator_char = operator.next();
    if !matches!(operator_char, Some('-' | '+' | '?')) {
        return Err(wrong());
    }
    // Compose works the word out even where it is not used, so its mistakes count; only a warning
    // about a variable that nothing depends on would be noise.
    let mut missing = BTreeSet::new();
    let word = nested(operator.as_str(), of, &mut missing, depth)?;
    let (used, result) = match (operator_char, value) {
        (Some('+'), None) => (false, String::new()),
        (Some('+'), Some(_)) | (Some('-'), None) => (true, word),
        (Some('?'), None) => {
            return Err(TemplateError::Required {
                name: name.to_owned(),
                message: word,
            });
        }
        (_, Some(value)) => (false, value.clone()),
        (_, None) => return Err(wrong()),
    };
    if used {
        unset.extend(missing);
    }
    Ok(result)
}

/// Replaces the variables in every text below a node. Keys are left alone.
pub(crate) fn tree(
    node: &mut Node,
    path: &KeyPath,
    variables: &VariableMap,
    uses: &mut Uses,
    mistakes: &mut Mistakes,
) {
    let at = node.at;
    match &mut node.value {
        NodeValue::Text(text) if text.contains('$') => {
            let mut unset = BTreeSet::new();
            let names = if is_for_nginx(&path.0) {
                NameScope::Nginx
            } else {
                NameScope::Ours
            };
            let result = nested(text, (variables, names), &mut unset, DEEPEST);
            uses.note(at, path, named(text), unset);
            match result {
                // Below `x-autoscale` a number may come from a variable too: `max: ${MAX:-8}`.
                Ok(new) if path.0.iter().any(|key| key == "x-autoscale") => {
                    node.value = retyped(new);
                }
                Ok(new) => *text = new,
                Err(error) => {
                    let below = if node.literal {
                        1 + error.line_in(text)
                    } else {
                        0
                    };
                    let line = at.line + below;
                    mistakes.add(SourceLocation { line, ..at }, path, error.to_string());
                }
            }
        }
        NodeValue::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                tree(item, &path.item(index), variables, uses, mistakes);
            }
        }
        NodeValue::Map(map) => {
            for (key, item) in map {
                tree(item, &path.key(key), variables, uses, mistakes);
            }
        }
        _ => {}
    }
}

/// Whether the text of this key goes to nginx, which has variables of its own.
fn is_for_nginx(path: &[String]) -> bool {
    let [around @ .., balance, hash] = path else {
        return false;
    };
    // A policy may stand by itself.
    (balance.as_str(), hash.as_str()) == ("balance", "hash")
        && around.last().is_none_or(|key| key == "x-autoscale")
}

fn retyped(text: String) -> NodeValue {
    if let Ok(number) = text.parse() {
        return NodeValue::Int(number);
    }
    if text.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && let Ok(number) = text.parse()
    {
        return NodeValue::Float(number);
    }
    match text.as_str() {
        "true" => NodeValue::Bool(true),
        "false" => NodeValue::Bool(false),
        _ => NodeValue::Text(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_that_grow_by_naming_each_other_are_refused() {
        let doubled = VariableMap::from([("A".to_owned(), "x".repeat(LONGEST / 2 + 1))]);
        let mut unset = BTreeSet::new();
        let grown = substitute("$A$A", &doubled, &mut unset);
        assert_eq!(grown, Err(TemplateError::TooLong));
    }

    fn run(text: &str) -> String {
        let variables = VariableMap::from([
            ("S".to_owned(), "set".to_owned()),
            ("E".to_owned(), String::new()),
        ]);
        let mut unset = BTreeSet::new();
        match substitute(text, &variables, &mut unset) {
            Ok(out) if unset.is_empty() => out,
            Ok(out) => format!("{out} unset: {unset:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_grammar_is_that_of_compose() {
        for (text, expected) in [
            ("$S-${S}x$S", "set-setxset"),
            ("$$S $${S}", "$S ${S}"),
            ("$ $1 $- a$", "$ $1 $- a$"),
            ("$U", " unset: {\"U\"}"),
            ("${U-d} ${E-d} ${S-d}", "d  set"),
            ("${U:-d} ${E:-d} ${S:-d}", "d d set"),
            ("${U+a}|${E+a}|${S+a}", "|a|a"),
            ("${U:+a}|${E:+a}|${S:+a}", "||a"),
            ("${S?no} ${E?no}", "set "),
            ("${U:-${S}}", "set"),
            ("${U:-${V:-x}}}", "x}"),
            ("${U:-a+b}", "a+b"),
            ("${U:-{x}}", "{x}"),
            ("${S:-$U}${U+$V}", "set"),
            ("${U:-$V}", " unset: {\"V\"}"),
            ("${U:-$$x}", "$x"),
            ("${s}", " unset: {\"s\"}"),
        ] {
            assert_eq!(run(text), expected, "{text}");
        }
    }

    #[test]
    fn what_goes_to_nginx_keeps_the_names_that_are_nginxs() {
        let variables = VariableMap::from([
            ("KEY".to_owned(), "$args".to_owned()),
            ("uri".to_owned(), "of the shell".to_owned()),
        ]);
        let run = |text: &str| {
            let mut unset = BTreeSet::new();
            let of = (&variables, NameScope::Nginx);
            let out = nested(text, of, &mut unset, DEEPEST).unwrap();
            (out, unset.into_iter().collect::<Vec<_>>())
        };
        for (text, expected) in [
            ("$request_uri", "$request_uri"),
            ("$$request_uri", "$request_uri"),
            ("$remote_addr-$http_x", "$remote_addr-$http_x"),
            ("${remote_addr}x$${host}", "${remote_addr}x${host}"),
            ("$uri", "$uri"),
            ("$KEY-${KEY}$host", "$args-$args$host"),
            ("${KEY:-$uri}", "$args"),
            ("${OTHER:-$uri}", "$uri"),
            ("${OTHER:-$$uri}", "$uri"),
            ("$1$", "$1$"),
        ] {
            assert_eq!(run(text), (expected.to_owned(), Vec::new()), "{text}");
        }
        assert_eq!(
            run("$OTHER-$uri"),
            ("-$uri".to_owned(), vec!["OTHER".to_owned()])
        );
        for (path, is) in [
            ("services.web.x-autoscale.balance.hash", true),
            ("x-autoscale.balance.hash", true),
            ("balance.hash", true),
            ("services.web.x-autoscale.balance", false),
            ("services.web.labels.balance.hash", false),
        ] {
            let path: Vec<_> = path.split('.').map(str::to_owned).collect();
            assert_eq!(is_for_nginx(&path), is, "{path:?}");
        }
    }

    #[test]
    fn a_required_variable_says_what_the_file_says() {
        assert_eq!(run("${U?}"), "required variable U is missing a value");
        assert_eq!(
            run("${E:?set $S first}"),
            "required variable E is missing a value: set set first"
        );
        for text in ["${U:-${V:?boo}}", "${S:-${V:?boo}}", "${U+${V:?boo}}"] {
            assert_eq!(run(text), "required variable V is missing a value: boo");
        }
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for text in [
            "${", "${}", "${1}", "${U:=x}", "${S/a/b}", "${#S}", "${S", "${S y}",
        ] {
            let expected =
                format!("invalid interpolation format in {text:?}; to mean a literal $, write $$");
            assert_eq!(run(text), expected);
            // Only the part that is wrong is shown.
            assert_eq!(run(&format!("set -e\n$S {text}\nexit")), expected);
        }
    }
}
