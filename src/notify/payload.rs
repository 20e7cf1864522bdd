//! What is told: one JSON object for each note.

use serde_json::{Map, Value};

use crate::{
    reconcile::{EventLevel, ScalingEvent},
    units::Timestamp,
};

/// What a target is told, field by field.
pub(super) type Payload = Map<String, Value>;

/// The most letters of a text for people; what services show of a message ends near there.
const TEXT: usize = 1500;

/// Where all this happens.
#[derive(Debug, Clone)]
pub(super) struct PayloadSource {
    pub(super) project: String,
    pub(super) host: String,
}

impl PayloadSource {
    /// The document of a note: its fields as in `scaling.log`, but for the input of the decision.
    pub(super) fn document(&self, note: &ScalingEvent) -> Payload {
        let fields = match serde_json::to_value(note) {
            Ok(Value::Object(fields)) => fields,
            _ => Payload::new(),
        };
        let event = fields.get("event").and_then(Value::as_str);
        let event = event.unwrap_or_default().to_owned();
        let sentence = note.what.to_string();
        let level = level(note.what.level());
        let mut document = self.head(note.at, &note.service, &event, level, &sentence);
        for (key, value) in fields {
            // An event's own `message`, as in `scaling.log`, goes before the sentence.
            if key != "input" && (key == "message" || !document.contains_key(&key)) {
                document.insert(key, value);
            }
        }
        document
    }

    /// A document that says only that the way works.
    pub(super) fn test(&self, at: Timestamp, service: &str) -> Payload {
        let sentence = "a test by `compose-scale check --send-test`";
        self.head(at, service, "test", "info", sentence)
    }

    fn head(&self, at: Timestamp, service: &str, event: &str, level: &str, text: &str) -> Payload {
        let line = one_line(text);
        let text = shortened(&format!("{}/{service}: {line}", self.project));
        let fields = [
            ("version", Value::from(1)),
            ("project", self.project.as_str().into()),
            ("host", self.host.as_str().into()),
            ("time", at.to_string().into()),
            ("service", service.into()),
            ("event", event.into()),
            ("level", level.into()),
            ("message", line.into()),
            ("text", text.into()),
        ];
        let fields = fields.into_iter();
        fields.map(|(key, value)| (key.to_owned(), value)).collect()
    }
}

/// The first line; what follows, like the log of a replica, is a field of its own.
fn one_line(text: &str) -> &str {
    let line = text.lines().next().unwrap_or_default();
    line.strip_suffix("; its last log lines:").unwrap_or(line)
}

fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(TEXT).collect();
    if text.chars().nth(TEXT).is_some() {
        short.push('…');
    }
    short
}

fn level(level: EventLevel) -> &'static str {
    match level {
        EventLevel::Debug => "debug",
        EventLevel::Info => "info",
        EventLevel::Warn => "warn",
        EventLevel::Error => "error",
    }
}

/// A document as the server at `host` wants it. Discord shows `content`, and would call whomever a
/// message names; Slack takes what is between angle brackets for a link or a call.
pub(super) fn for_host(document: &Payload, host: &str) -> String {
    let is = |domain: &str| host == domain || host.ends_with(&format!(".{domain}"));
    let mut document = document.clone();
    if is("discord.com") || is("discordapp.com") {
        if let Some(text) = document.shift_remove("text") {
            document.insert("content".into(), text);
        }
        let nobody = serde_json::json!({ "parse": [] });
        document.insert("allowed_mentions".into(), nobody);
    }
    if is("slack.com")
        && let Some(Value::String(text)) = document.get_mut("text")
    {
        let escaped = text.replace('&', "&amp;");
        *text = escaped.replace('<', "&lt;").replace('>', "&gt;");
    }
    Value::Object(document).to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::reconcile::{EventKind, Initiator};

    fn document(what: EventKind) -> Payload {
        let place = PayloadSource {
            project: "shop".into(),
            host: "srv1".into(),
        };
        place.document(&ScalingEvent {
            at: Timestamp::from_unix(1_800_000_000),
            service: "web".into(),
            what,
        })
    }

    #[test]
    fn a_change_of_the_count_has_its_fields_and_not_its_input() {
        let document = document(EventKind::Scale {
            from: 2,
            to: 4,
            reason: "above_target".into(),
            message: "cpu 100% of 60% target: 2 → 4".into(),
            metrics: BTreeMap::from([("cpu".into(), 99.9)]),
            by: Initiator::Policy,
            input: Some(Box::new(serde_json::json!({"now": "…"}))),
        });
        insta::assert_snapshot!(
            serde_json::to_string_pretty(&document).unwrap(),
            @r#"
        {
          "version": 1,
          "project": "shop",
          "host": "srv1",
          "time": "2027-01-15T08:00:00Z",
          "service": "web",
          "event": "scale",
          "level": "info",
          "message": "cpu 100% of 60% target: 2 → 4",
          "text": "shop/web: scaling: cpu 100% of 60% target: 2 → 4",
          "from": 2,
          "to": 4,
          "reason": "above_target",
          "metrics": {
            "cpu": 99.9
          },
          "by": "policy"
        }
        "#
        );
    }

    #[test]
    fn the_text_is_one_line_and_the_log_is_a_field() {
        let document = document(EventKind::Failed {
            replica: "shop-web-2".into(),
            why: "it ended with exit code 3".into(),
            log: vec!["one".into(), "two".into()],
            retry_in: 10.0,
            again: false,
        });
        let text = document["text"].as_str().unwrap();
        assert!(text.starts_with("shop/web: shop-web-2 "), "{text}");
        assert!(!text.contains(['\n']) && !text.ends_with(':'), "{text}");
        assert_eq!(document["log"], serde_json::json!(["one", "two"]));
        assert_eq!(document["level"], "error");
    }

    #[test]
    fn discord_and_slack_are_spoken_to_in_their_own_way_and_call_nobody() {
        let document = document(EventKind::RouteFailed {
            why: "nginx: <!channel> & more".into(),
        });
        let read = |host| -> Payload { serde_json::from_str(&for_host(&document, host)).unwrap() };
        let discord = read("discord.com");
        assert_eq!(discord["content"], "shop/web: nginx: <!channel> & more");
        assert_eq!(discord["allowed_mentions"]["parse"], serde_json::json!([]));
        assert!(!discord.contains_key("text"));
        let slack = read("hooks.slack.com");
        assert_eq!(
            slack["text"],
            "shop/web: nginx: &lt;!channel&gt; &amp; more"
        );
        assert_eq!(read("notslack.com"), document);
    }
}
