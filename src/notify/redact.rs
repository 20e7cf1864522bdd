//! Hides what is secret of a webhook in what its server says: many an error page repeats the path.

use std::collections::BTreeSet;

use percent_encoding::percent_decode_str;

use crate::policy::notify::Webhook;

/// Parts of a URL that are not longer than this are words like any other.
const SHORT: usize = 5;

/// What is not to be shown, in small letters.
pub(super) struct Redactor(BTreeSet<String>);

impl Redactor {
    /// Over the path, the query and the headers of a webhook.
    pub(super) fn of(webhook: &Webhook) -> Self {
        let mut veil = Self(BTreeSet::new());
        let url = webhook.url.secret();
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let rest = rest.find(['/', '?', '#']).map_or("", |at| &rest[at..]);
        // Which is not sent.
        let rest = rest.split('#').next().unwrap_or_default();
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        for whole in [rest, path, path.trim_end_matches('/'), query] {
            if whole.trim_matches('/').is_empty() {
                continue;
            }
            veil.add(whole);
            // As some write it in JSON.
            veil.add(&whole.replace('/', "\\/"));
        }
        let values = query.split('&').map(|pair| {
            let value = pair.split_once('=').map(|(_, value)| value);
            value.unwrap_or(pair)
        });
        for part in path.split('/').chain(values) {
            veil.add_long(part);
            veil.add_long(&part.replace('+', " "));
        }
        for value in webhook.headers.0.values() {
            veil.add(value.trim());
            // Of `Bearer …` the second word is the secret.
            for word in value.split([' ', '\t', ',', ';', '=', '"']) {
                veil.add_long(word);
            }
        }
        veil
    }

    fn add_long(&mut self, part: &str) {
        if part.chars().count() > SHORT {
            self.add(part);
        }
    }

    /// As it is and decoded.
    fn add(&mut self, secret: &str) {
        let decoded = percent_decode_str(secret).decode_utf8_lossy();
        for secret in [secret, &decoded] {
            if !secret.is_empty() {
                self.0.insert(secret.to_ascii_lowercase());
            }
        }
    }

    /// The text with `…` for all that is secret in it.
    pub(super) fn over(&self, text: &str) -> String {
        let lower = text.to_ascii_lowercase();
        let mut is_secret = vec![false; text.len()];
        for secret in &self.0 {
            for (at, _) in lower.match_indices(secret) {
                is_secret[at..at + secret.len()].fill(true);
            }
        }
        let mut shown = String::with_capacity(text.len());
        let mut was_secret = false;
        for (at, char) in text.char_indices() {
            if !is_secret[at] {
                shown.push(char);
            } else if !was_secret {
                shown.push('…');
            }
            was_secret = is_secret[at];
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::notify::{Headers, SecretUrl};

    fn veil(url: &str, headers: &[(&str, &str)]) -> Redactor {
        let pairs = headers.iter().copied();
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Redactor::of(&Webhook {
            url: SecretUrl::new(url),
            headers: Headers(pairs.collect()),
            timeout: Webhook::TIMEOUT,
            retry: Webhook::RETRY,
        })
    }

    #[test]
    fn path_and_query_are_hidden_as_they_are_and_decoded() {
        let veil = veil(
            "https://a.example/T0/B1/se%63ret%20word?key=hush+hush&n=1",
            &[],
        );
        for (said, shown) in [
            (
                "Cannot POST /T0/B1/se%63ret%20word?key=hush+hush&n=1",
                "Cannot POST …",
            ),
            ("Cannot POST /T0/B1/secret word!", "Cannot POST …!"),
            (r#"{"path":"\/T0\/B1\/secret word"}"#, r#"{"path":"…"}"#),
            ("no `secret word` here", "no `…` here"),
            ("no `SE%63RET%20WORD` here", "no `…` here"),
            ("hush hush, hush+hush", "…, …"),
            ("key=hush+hush&n=1", "…"),
            ("there is no channel T0", "there is no channel T0"),
            ("ä é …", "ä é …"),
        ] {
            assert_eq!(veil.over(said), shown);
        }
    }

    #[test]
    fn headers_are_hidden_also_without_their_scheme() {
        let veil = veil(
            "https://a.example/",
            &[("Authorization", "Bearer hush-hush"), ("X-Pin", "4711")],
        );
        assert_eq!(veil.over("got Bearer hush-hush"), "got …");
        assert_eq!(veil.over("hush-hush has expired"), "… has expired");
        assert_eq!(veil.over("4711 is wrong"), "… is wrong");
        assert_eq!(veil.over("POST / is wrong"), "POST / is wrong");
    }

    #[test]
    fn secrets_that_overlap_are_hidden_to_the_last_letter() {
        let veil = veil("https://a.example/abcdef/defghi", &[]);
        assert_eq!(veil.over("<abcdefghi>"), "<…>");
    }
}
