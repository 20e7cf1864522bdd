//! The image that a Dockerfile builds on.

use std::collections::BTreeMap;

/// The image of the stage that is built, and of the stages that it goes back to.
pub fn base_image(text: &str, target: Option<&str>) -> Option<String> {
    let mut defaults = BTreeMap::new();
    // Each stage's name and what it is built on.
    let mut stages: Vec<(String, String)> = Vec::new();
    for line in instructions(text) {
        let mut words = line.split_whitespace();
        let instruction = words.next().unwrap_or_default().to_ascii_uppercase();
        match instruction.as_str() {
            "ARG" if stages.is_empty() => {
                let pairs = words.filter_map(|word| word.split_once('='));
                let unquoted = |value: &str| value.trim_matches(['"', '\'']).to_owned();
                defaults.extend(pairs.map(|(name, value)| (name.to_owned(), unquoted(value))));
            }
            "FROM" => {
                let mut words = words.skip_while(|word| word.starts_with("--"));
                let image = with_defaults(words.next()?, &defaults);
                let named = words
                    .next()
                    .is_some_and(|word| word.eq_ignore_ascii_case("as"));
                let name = words.next().filter(|_| named).unwrap_or_default();
                stages.push((name.to_ascii_lowercase(), image));
            }
            _ => {}
        }
    }
    let mut at = match target {
        Some(target) => position(&stages, target).or_else(|| target.parse().ok())?,
        None => stages.len().checked_sub(1)?,
    };
    loop {
        let (_, image) = stages.get(at)?;
        match position(&stages[..at], image) {
            Some(earlier) => at = earlier,
            None => return Some(image.clone()),
        }
    }
}

fn position(stages: &[(String, String)], name: &str) -> Option<usize> {
    let name = name.to_ascii_lowercase();
    stages.iter().rposition(|(stage, _)| *stage == name)
}

/// The instructions of a Dockerfile, without comments; a line that ends in `\` goes on.
fn instructions(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    let mut line = String::new();
    for part in text.lines().map(str::trim) {
        if part.starts_with('#') {
            continue;
        }
        if let Some(part) = part.strip_suffix('\\') {
            line.push_str(part);
            line.push(' ');
        } else {
            line.push_str(part);
            all.push(std::mem::take(&mut line));
        }
    }
    all
}

/// `$NAME`, `${NAME}` and `${NAME:-default}` by the defaults of the file.
fn with_defaults(image: &str, defaults: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = image;
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let (name, default, left) = if let Some((inside, left)) = after
            .strip_prefix('{')
            .and_then(|after| after.split_once('}'))
        {
            let (name, default) = inside.split_once(":-").unwrap_or((inside, ""));
            (name, default, left)
        } else {
            let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let end = after.find(|c| !is_name(c)).unwrap_or(after.len());
            (&after[..end], "", &after[end..])
        };
        out.push_str(defaults.get(name).map_or(default, String::as_str));
        rest = left;
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stage_that_is_built_tells_the_image() {
        let two = "FROM node:20 AS build\nRUN npm run build\n\nFROM nginx:1.27\nCOPY --from=build /app /html\n";
        for (text, target, image) in [
            (
                "FROM nginx:1.27\nCOPY site.conf /etc/nginx/conf.d/\n",
                None,
                Some("nginx:1.27"),
            ),
            (two, None, Some("nginx:1.27")),
            (two, Some("build"), Some("node:20")),
            (two, Some("Build"), Some("node:20")),
            (two, Some("none"), None),
            (
                "# syntax=x\nfrom --platform=linux/amd64 caddy:2 as edge\n",
                None,
                Some("caddy:2"),
            ),
            (
                "FROM python:3 AS base\nFROM base AS dev\nFROM base\n",
                None,
                Some("python:3"),
            ),
            (
                "ARG V=1.27\nARG IMAGE=\"nginx\"\nFROM ${IMAGE}:${V}\n",
                None,
                Some("nginx:1.27"),
            ),
            ("FROM $UNSET${X:-redis}:7\n", None, Some("redis:7")),
            ("FROM \\\n  # where it is\n  nginx\n", None, Some("nginx")),
            ("RUN true\n", None, None),
            ("FROM\n", None, None),
            ("", None, None),
        ] {
            assert_eq!(base_image(text, target).as_deref(), image, "{text}");
        }
    }

    #[test]
    fn a_stage_that_names_itself_ends() {
        assert_eq!(base_image("FROM a AS a\n", None).as_deref(), Some("a"));
    }
}
