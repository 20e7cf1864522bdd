//! What is known of public images by their names.

use super::image_word;

const KNOWN: &str = include_str!("known.txt");

/// What an image is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageKind {
    /// It keeps data that has one owner: a database, a queue, a store.
    Data,
    /// It passes requests on to other services.
    Proxy,
    /// A web server other than nginx: it may pass requests on, or be the site.
    Server,
    /// nginx, which may be either too.
    Nginx,
}

/// An image that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownImage<'a> {
    /// Its kind.
    pub kind: ImageKind,
    /// The last word of its name.
    pub word: &'a str,
    /// Whether the word as a whole is known, not a part of it alone.
    pub is_certain: bool,
}

/// The words of a kind in the list.
fn words(kind: &str) -> impl Iterator<Item = &'static str> {
    let lines = KNOWN
        .lines()
        .filter_map(move |line| line.strip_prefix(kind));
    let lines = lines.filter(|line| line.starts_with(' '));
    lines.flat_map(str::split_whitespace)
}

/// What is known of an image; `None` for one that may be anybody's app.
pub fn known(image: &str) -> Option<KnownImage<'_>> {
    let word = image_word(image);
    let path = image.split('@').next().unwrap_or_default();
    if path.contains("/mssql/") {
        let kind = ImageKind::Data;
        return Some(KnownImage {
            kind,
            word: "mssql",
            is_certain: true,
        });
    }
    let kinds = [
        ("nginx", ImageKind::Nginx),
        ("proxy", ImageKind::Proxy),
        ("server", ImageKind::Server),
        ("data", ImageKind::Data),
    ];
    let certain = |(name, _): &&(&str, ImageKind)| {
        words(name).any(|known| known.trim_end_matches('*') == word)
    };
    if let Some((_, kind)) = kinds.iter().find(certain) {
        return Some(KnownImage {
            kind: *kind,
            word,
            is_certain: true,
        });
    }
    let parts: Vec<_> = word.split(['-', '_', '.']).collect();
    if parts
        .iter()
        .any(|part| words("tool").any(|tool| tool == *part))
    {
        return None;
    }
    let part = |(name, _): &&(&str, ImageKind)| {
        let mut known = words(name).filter_map(|known| known.strip_suffix('*'));
        known.any(|known| {
            let known: Vec<_> = known.split('-').collect();
            parts.windows(known.len()).any(|some| some == known)
        })
    };
    let (_, kind) = kinds.iter().find(part)?;
    Some(KnownImage {
        kind: *kind,
        word,
        is_certain: false,
    })
}

#[cfg(test)]
mod tests;
