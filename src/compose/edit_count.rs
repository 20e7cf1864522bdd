//! Changing the count of a service in a compose file without touching anything else of it: comments,
//! order and blanks stay byte for byte as they are.
//!
//! What is written here is small: one number, or one or two lines below a service that stands in a
//! block of its own. Whatever is written in another way is left to the person who wrote it; and a
//! result that means anything else than the old text with that number is thrown away.

use serde_yaml::{Mapping, Value as Yaml};

use super::tree::Node;
use crate::project::CountKeys;

/// Why the count was not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotWritten {
    /// The service has no place in the file, or one that lines cannot be put into.
    #[error("it has no block `{0}:` below `services:`")]
    NoBlock(String),
    /// Something else than a number stands there.
    #[error("`{key}` of {service} is no plain number there")]
    NoNumber {
        /// The service.
        service: String,
        /// The key.
        key: String,
    },
    /// The result would have meant something else.
    #[error("its lines are of a form that is not changed here")]
    OtherForm,
}

/// The keys that tell the count of a service.
pub(super) fn keys(service: &Node) -> CountKeys {
    let written = |node: Option<&Node>| node.is_some_and(|node| !node.is_null());
    CountKeys {
        scale: written(service.get("scale")),
        replicas: written(
            service
                .get("deploy")
                .and_then(|deploy| deploy.get("replicas")),
        ),
    }
}

/// The text with this count for a service, by the keys that tell it in the project; by `scale` where
/// none does.
pub fn with_count(
    text: &str,
    service: &str,
    keys: CountKeys,
    count: u32,
) -> Result<String, NotWritten> {
    let no_block = || NotWritten::NoBlock(service.to_owned());
    let mut lines = SourceLines::of(text);
    let mut paths: Vec<&[&str]> = Vec::new();
    if keys.scale || !keys.replicas {
        paths.push(&["scale"]);
    }
    if keys.replicas {
        paths.push(&["deploy", "replicas"]);
    }
    for path in &paths {
        let top = KeyBlock {
            at: None,
            end: lines.0.len(),
        };
        let services = lines.block(top, "services").ok_or_else(no_block)?;
        let block = lines.block(services, service).ok_or_else(no_block)?;
        let step = lines.step(services, block);
        lines
            .set(block, path, count, step)
            .ok_or_else(|| NotWritten::NoNumber {
                service: service.to_owned(),
                key: path.join("."),
            })?;
    }
    let changed = lines.0.concat();
    let mut expected: Yaml = serde_yaml::from_str(text).map_err(|_| NotWritten::OtherForm)?;
    for path in paths {
        put(
            &mut expected,
            &[&["services", service], path].concat(),
            count,
        )
        .ok_or(NotWritten::OtherForm)?;
    }
    match serde_yaml::from_str::<Yaml>(&changed) {
        Ok(found) if found == expected => Ok(changed),
        _ => Err(NotWritten::OtherForm),
    }
}

/// A text with the counts that another one has, as far as they can be written.
pub fn carried(from: &str, to: &str, services: &[String]) -> String {
    let Ok(from) = serde_yaml::from_str::<Yaml>(from) else {
        return to.to_owned();
    };
    let mut text = to.to_owned();
    for service in services {
        let of = &from["services"][service.as_str()];
        let (scale, replicas) = (of["scale"].as_u64(), of["deploy"]["replicas"].as_u64());
        let keys = CountKeys {
            scale: scale.is_some(),
            replicas: replicas.is_some(),
        };
        let count = scale
            .or(replicas)
            .and_then(|count| u32::try_from(count).ok());
        if let Some(count) = count
            && let Ok(with) = with_count(&text, service, keys, count)
        {
            text = with;
        }
    }
    text
}

/// Sets a number in a document.
fn put(root: &mut Yaml, path: &[&str], count: u32) -> Option<()> {
    let (first, rest) = path.split_first()?;
    if root.is_null() {
        *root = Yaml::Mapping(Mapping::new());
    }
    let map = root.as_mapping_mut()?;
    if rest.is_empty() {
        map.insert(Yaml::from(*first), Yaml::from(count));
        return Some(());
    }
    let below = map.entry(Yaml::from(*first)).or_insert(Yaml::Null);
    put(below, rest, count)
}

/// A key and the lines below it; the whole document without one.
#[derive(Debug, Clone, Copy)]
struct KeyBlock {
    at: Option<usize>,
    end: usize,
}

/// Lines with their ends.
struct SourceLines(Vec<String>);

impl SourceLines {
    fn of(text: &str) -> Self {
        Self(text.split_inclusive('\n').map(ToOwned::to_owned).collect())
    }

    /// How far a line is from the margin; nothing for one that says nothing.
    fn indent(&self, at: usize) -> Option<usize> {
        let line = self.0.get(at)?;
        let said = line.trim_start_matches(' ');
        let nothing = said.trim().is_empty() || said.starts_with('#');
        (!nothing).then(|| line.len() - said.len())
    }

    /// How far the keys of a block are from the margin.
    fn indent_of_keys(&self, block: KeyBlock) -> Option<usize> {
        let Some(at) = block.at else { return Some(0) };
        let first = (at + 1..block.end).find_map(|line| self.indent(line))?;
        (first > self.indent(at)?).then_some(first)
    }

    /// How much deeper a key of a service stands than the service.
    fn step(&self, services: KeyBlock, service: KeyBlock) -> usize {
        let outer = services.at.and_then(|at| self.indent(at)).unwrap_or(0);
        let inner = service
            .at
            .and_then(|at| self.indent(at))
            .unwrap_or(outer + 2);
        let keys = self.indent_of_keys(service);
        keys.map_or(inner - outer, |keys| keys - inner)
    }

    /// The line of a key right below another one, and what is written behind its colon.
    fn key(&self, block: KeyBlock, key: &str) -> Option<(usize, &str)> {
        let indent = self.indent_of_keys(block)?;
        let first = block.at.map_or(0, |at| at + 1);
        (first..block.end)
            .filter(|line| self.indent(*line) == Some(indent))
            .find_map(|line| Some((line, value(self.0[line].trim(), key)?)))
    }

    /// A key that has a block of its own, which may be empty.
    fn block(&self, block: KeyBlock, key: &str) -> Option<KeyBlock> {
        let (at, value) = self.key(block, key)?;
        if !bare(value).is_empty() {
            return None;
        }
        let indent = self.indent(at)?;
        let end = (at + 1..block.end)
            .find(|line| self.indent(*line).is_some_and(|other| other <= indent))
            .unwrap_or(block.end);
        Some(KeyBlock { at: Some(at), end })
    }

    /// Writes a number at a path below a block.
    fn set(&mut self, block: KeyBlock, path: &[&str], count: u32, step: usize) -> Option<()> {
        let (first, rest) = path.split_first()?;
        match self
            .key(block, first)
            .map(|(at, value)| (at, value.to_owned()))
        {
            Some((at, value)) if rest.is_empty() => {
                let old = bare(&value).to_owned();
                let plain = !old.is_empty() && old.bytes().all(|b| b.is_ascii_digit());
                plain.then(|| self.replace(at, &value, &old, count))
            }
            Some(_) => {
                let inner = self.block(block, first)?;
                self.set(inner, rest, count, step)
            }
            None => {
                self.insert(block, path, count, step);
                Some(())
            }
        }
    }

    fn replace(&mut self, at: usize, value: &str, old: &str, count: u32) {
        let line = &mut self.0[at];
        // The value is the end of the line, but for what was trimmed.
        let start = line.trim_end().len() - value.len();
        let start = start + value.find(old).unwrap_or(0);
        line.replace_range(start..start + old.len(), &count.to_string());
    }

    /// Puts new keys directly below a block's own line.
    fn insert(&mut self, block: KeyBlock, path: &[&str], count: u32, step: usize) {
        let Some(at) = block.at else { return };
        let outer = self.indent(at).unwrap_or(0);
        let indent = self.indent_of_keys(block).unwrap_or(outer + step);
        let line = &mut self.0[at];
        let end = if line.ends_with("\r\n") { "\r\n" } else { "\n" };
        let last = !line.ends_with('\n');
        if last {
            line.push('\n');
        }
        for (depth, key) in path.iter().enumerate() {
            let blanks = " ".repeat(indent + depth * step);
            let is_end = depth + 1 == path.len();
            let number = if is_end {
                format!(" {count}")
            } else {
                String::new()
            };
            let end = if last && is_end { "" } else { end };
            self.0
                .insert(at + 1 + depth, format!("{blanks}{key}:{number}{end}"));
        }
    }
}

/// What a line says of a key, when it is that key's.
fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let quoted = |mark: char| {
        let rest = line.strip_prefix(mark)?.strip_prefix(key)?;
        rest.strip_prefix(mark)
    };
    let rest = line
        .strip_prefix(key)
        .or_else(|| quoted('"'))
        .or_else(|| quoted('\''))?;
    let value = rest.trim_start().strip_prefix(':')?;
    (value.is_empty() || value.starts_with([' ', '\t'])).then(|| value.trim_start())
}

/// A value without the comment behind it.
fn bare(value: &str) -> &str {
    let end = if value.starts_with('#') {
        0
    } else {
        value.find(" #").unwrap_or(value.len())
    };
    value[..end].trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCALE: CountKeys = CountKeys {
        scale: true,
        replicas: false,
    };
    const NONE: CountKeys = CountKeys {
        scale: false,
        replicas: false,
    };
    const REPLICAS: CountKeys = CountKeys {
        scale: false,
        replicas: true,
    };

    #[test]
    fn counts_are_carried_from_one_text_to_another() {
        let from = "services:\n  web:\n    scale: 5\n  api:\n    deploy:\n      replicas: 3\n";
        let to = "services:\n  web:\n    scale: 2 # at least\n    image: a\n  api:\n    image: b\n";
        let services = ["web".to_owned(), "api".to_owned(), "gone".to_owned()];
        let text = carried(from, to, &services);
        assert!(text.contains("scale: 5"), "{text}");
        assert!(text.contains("replicas: 3"), "{text}");
        assert_eq!(carried("- not", to, &services), to);
    }

    #[test]
    fn only_the_number_changes() {
        let text = "# Kept by compose-scale.\nservices:\n\n  # the shop\n  web:\n    scale: 2   # now\n  api: {scale: 1}\r\n  'jobs' :\n      scale: 12\n";
        assert_eq!(
            with_count(text, "web", SCALE, 10).unwrap(),
            text.replace("scale: 2 ", "scale: 10 ")
        );
        assert_eq!(
            with_count(text, "jobs", NONE, 3).unwrap(),
            text.replace("scale: 12", "scale: 3")
        );
        assert_eq!(with_count(text, "web", SCALE, 2).unwrap(), text);
    }

    #[test]
    fn a_line_is_put_where_there_is_none_with_the_indentation_of_the_file() {
        for (text, expected) in [
            (
                "services:\n    web:\n        # why\n        labels: {a: b}\n    db: {}\n",
                "services:\n    web:\n        scale: 4\n        # why\n        labels: {a: b}\n    db: {}\n",
            ),
            ("services:\n   web:", "services:\n   web:\n      scale: 4"),
            (
                "services:\r\n  web: # ours\r\n  db:\r\n    image: db\r\n",
                "services:\r\n  web: # ours\r\n    scale: 4\r\n  db:\r\n    image: db\r\n",
            ),
        ] {
            assert_eq!(with_count(text, "web", NONE, 4).unwrap(), expected);
        }
    }

    #[test]
    fn deploy_replicas_is_written_where_the_project_tells_the_count_by_it() {
        for (text, expected) in [
            (
                "services:\n  web:\n",
                "services:\n  web:\n    deploy:\n      replicas: 5\n",
            ),
            (
                "services:\n  web:\n    deploy:\n      # kept\n      replicas: 2\n",
                "services:\n  web:\n    deploy:\n      # kept\n      replicas: 5\n",
            ),
            (
                "services:\n  web:\n    deploy:\n      resources: {}\n",
                "services:\n  web:\n    deploy:\n      replicas: 5\n      resources: {}\n",
            ),
        ] {
            assert_eq!(with_count(text, "web", REPLICAS, 5).unwrap(), expected);
        }
        let both = CountKeys {
            scale: true,
            replicas: true,
        };
        assert_eq!(
            with_count("services:\n  web:\n    scale: 2\n", "web", both, 5).unwrap(),
            "services:\n  web:\n    deploy:\n      replicas: 5\n    scale: 5\n"
        );
    }

    #[test]
    fn what_is_written_in_another_way_is_left_alone() {
        let no_block = Err(NotWritten::NoBlock("web".into()));
        for text in [
            "services: {web: {scale: 2}}\n",
            "services:\n  web: {scale: 2}\n",
            "services:\n  api:\n    scale: 2\n",
            "services:\n  api:\n    web:\n      scale: 2\n",
            "# nothing\n",
        ] {
            assert_eq!(with_count(text, "web", SCALE, 3), no_block, "{text}");
        }
        let no_number = with_count("services:\n  web:\n    scale: ${N:-2}\n", "web", SCALE, 3);
        assert!(
            matches!(no_number, Err(NotWritten::NoNumber { .. })),
            "{no_number:?}"
        );
        for text in [
            // The line is in the middle of a text.
            "services:\n  web:\n    x: \"\n    scale: 1\n    \"\n",
            "services:\n  web:\n    scale: 1\n---\nservices:\n  web:\n    scale: 1\n",
            "services:\n  web:\n  - scale: 1\n",
        ] {
            let found = with_count(text, "web", SCALE, 3);
            assert!(found.is_err(), "{text}: {found:?}");
        }
    }
}
