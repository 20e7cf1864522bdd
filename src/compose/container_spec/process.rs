//! The process of a container: its command, its health, its restarts, its log and its limits.

use serde_json::{Map, Value as Json, json};

use super::{super::tree::Node, SpecBuilder, read};
use crate::units::Span;

impl SpecBuilder<'_, '_> {
    pub(super) fn command(&mut self, key: &str, field: &str, node: &Node) {
        if node.is_null() {
            return;
        }
        match read::command(node) {
            Some(words) => self.set_config(field, json!(words)),
            None => self.unread(key),
        }
    }

    pub(super) fn healthcheck(&mut self, node: &Node) {
        let Some(check) = &self.service.healthcheck else {
            return self.set_config("Healthcheck", json!({"Test": ["NONE"]}));
        };
        let nanos = |span: Option<Span>| {
            span.map_or(0, |s| i64::try_from(s.0.as_nanos()).unwrap_or(i64::MAX))
        };
        let mut all = Map::new();
        if node.get("test").is_some() {
            all.insert("Test".into(), json!(check.test));
        }
        for (field, span) in [
            ("Interval", check.interval),
            ("Timeout", check.timeout),
            ("StartPeriod", check.start_period),
            ("StartInterval", check.start_interval),
        ] {
            if span.is_some() {
                all.insert(field.into(), json!(nanos(span)));
            }
        }
        if let Some(retries) = check.retries {
            all.insert("Retries".into(), json!(retries));
        }
        if check.start_interval.is_some() {
            self.need("healthcheck.start_interval", (1, 44));
        }
        self.set_config("Healthcheck", Json::Object(all));
    }

    pub(super) fn stop_timeout(&mut self) {
        if let Some(span) = self.service.stop_grace_period {
            self.set_config("StopTimeout", json!(span.0.as_secs()));
        }
    }

    pub(super) fn restart(&mut self, node: &Node) {
        let text = node.scalar().unwrap_or_default();
        let (name, attempts) = text.split_once(':').unwrap_or((&text, "0"));
        let attempts: i64 = attempts.parse().unwrap_or(0);
        self.restart_policy(name, attempts);
    }

    pub(super) fn restart_policy(&mut self, name: &str, attempts: i64) {
        let name = match name {
            "none" | "no" | "false" => "no",
            "any" | "always" => "always",
            "on-failure" | "unless-stopped" => name,
            _ => "",
        };
        let policy = json!({"Name": name, "MaximumRetryCount": attempts});
        self.set_host("RestartPolicy", policy);
    }

    pub(super) fn logging(&mut self, node: &Node) {
        let options = node.get("options").map(read::pairs).unwrap_or_default();
        let driver = node.get("driver").and_then(Node::as_text);
        let driver = driver.unwrap_or_default();
        self.set_host("LogConfig", json!({"Type": driver, "Config": options}));
    }

    pub(super) fn ulimits(&mut self, node: &Node) {
        for (name, limit) in node.as_map().into_iter().flatten() {
            let number = |node: Option<&Node>| node.and_then(read::whole);
            let both = number(Some(limit));
            let soft = both.or_else(|| number(limit.get("soft")));
            let hard = both.or_else(|| number(limit.get("hard")));
            let (Some(soft), Some(hard)) = (soft, hard) else {
                return self.unread("ulimits");
            };
            let limit = json!({"Name": name, "Soft": soft, "Hard": hard});
            self.push_host("Ulimits", limit);
        }
    }
}
