//! Whether nginx reads our files, by its own account. Pure.
//!
//! A mount goes on showing the directory that was there when the container started. Where that was
//! deleted and made again, or a link on the way to it turned, nginx reloads without an error and
//! runs the old files for ever. `nginx -T` prints what it reads, and tests it as `nginx -t` does.

use std::collections::BTreeMap;

use crate::proxy::{inspect::heading, render};

/// What one `nginx -T` printed, by the last part of each file's path.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct LoadedConfig {
    files: BTreeMap<String, Vec<String>>,
}

/// How nginx sees one of our files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight {
    /// As it is on this host.
    Same,
    /// One of ours with that name, but with another text.
    Old,
    /// It does not read it.
    Nothing,
}

impl LoadedConfig {
    pub(super) fn parse(dump: &str) -> Self {
        let mut view = Self::default();
        let mut current: Option<&mut String> = None;
        for line in dump.lines() {
            if let Some(path) = heading(line) {
                let name = path.rsplit('/').next().unwrap_or(path);
                let texts = view.files.entry(name.to_owned()).or_default();
                texts.push(String::new());
                current = texts.last_mut();
            } else if let Some(text) = &mut current {
                text.push_str(line);
                text.push('\n');
            }
        }
        view
    }

    /// How a file of this name with this text is seen.
    pub(super) fn of(&self, name: &str, text: &str) -> Sight {
        let seen = self.files.get(name).map_or(&[][..], Vec::as_slice);
        if seen.iter().any(|seen| seen.trim_end() == text.trim_end()) {
            return Sight::Same;
        }
        let owner = render::owner(text);
        let ours = |seen: &String| render::owner(seen) == owner;
        if owner.is_some() && seen.iter().any(ours) {
            Sight::Old
        } else {
            Sight::Nothing
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_seen_as_it_is_as_it_was_or_not_at_all() {
        let ours = |body: &str| {
            format!("# generated, do not edit: made by compose-scale for project shop\n{body}\n")
        };
        let dump = format!(
            "# configuration file /etc/nginx/nginx.conf:\nhttp {{ include up/*.conf; }}\n\n\
             # configuration file /etc/nginx/conf.d/web.conf:\nserver {{ }}\n\n\
             # configuration file /etc/nginx/up/web.conf:\n{}\n\
             # configuration file /etc/nginx/up/api.conf:\nupstream api {{ }}\n\n",
            ours("upstream web { }"),
        );
        let view = LoadedConfig::parse(&dump);
        assert_eq!(view.of("web.conf", &ours("upstream web { }")), Sight::Same);
        assert_eq!(view.of("web.conf", &ours("other")), Sight::Old);
        // A file of that name that is not ours is no older version of ours.
        assert_eq!(view.of("api.conf", &ours("other")), Sight::Nothing);
        assert_eq!(view.of("gone.conf", &ours("other")), Sight::Nothing);
        assert_eq!(LoadedConfig::parse("").of("web.conf", ""), Sight::Nothing);
    }
}
