//! What was found, as text and as JSON.

use std::fmt;

use owo_colors::{AnsiColors, OwoColorize};
use serde::Serialize;

use super::CheckCode;
use crate::{compose::Loaded, telemetry::plain};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Severity {
    Ok,
    /// It may be meant so.
    Hint,
    /// It will bite some day.
    Warning,
    /// Scaling does not work.
    Error,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    /// `None` for what is right.
    pub(super) code: Option<CheckCode>,
    pub(super) severity: Severity,
    /// What it is about: a service, `nginx`, `engine`, `project`.
    pub(super) service: String,
    pub(super) message: String,
    /// What to type; empty when nothing is to be done.
    pub(super) fix: String,
    /// Where it is written.
    pub(super) file: Option<String>,
    pub(super) line: Option<usize>,
}

#[derive(Debug)]
pub(super) struct CheckReport {
    pub(super) project: String,
    pub(super) findings: Vec<Finding>,
}

/// A finding in the JSON document.
#[derive(Debug, Serialize)]
struct FindingRow<'a> {
    code: &'a str,
    severity: Severity,
    service: &'a str,
    message: &'a str,
    fix: Option<&'a str>,
    file: Option<&'a str>,
    line: Option<usize>,
}

/// What is right, in the JSON document.
#[derive(Debug, Serialize)]
struct Passed<'a> {
    service: &'a str,
    message: &'a str,
}

/// The JSON document.
#[derive(Debug, Serialize)]
pub(super) struct CheckDocument<'a> {
    version: u32,
    project: &'a str,
    findings: Vec<FindingRow<'a>>,
    passed: Vec<Passed<'a>>,
}

impl CheckReport {
    pub(super) fn new(project: &str) -> Self {
        Self {
            project: project.to_owned(),
            findings: Vec::new(),
        }
    }

    pub(super) fn ok(&mut self, about: &str, what: impl Into<String>) {
        self.add(Severity::Ok, None, about, what.into(), String::new());
    }

    pub(super) fn hint(
        &mut self,
        code: CheckCode,
        about: &str,
        what: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.add(Severity::Hint, Some(code), about, what.into(), fix.into());
    }

    pub(super) fn warn(
        &mut self,
        code: CheckCode,
        about: &str,
        what: impl Into<String>,
        fix: impl Into<String>,
    ) {
        let severity = Severity::Warning;
        self.add(severity, Some(code), about, what.into(), fix.into());
    }

    pub(super) fn error(
        &mut self,
        code: CheckCode,
        about: &str,
        what: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.add(Severity::Error, Some(code), about, what.into(), fix.into());
    }

    /// Makes commands those for this project, with the flags that were given here.
    pub(super) fn typed_for(&mut self, loaded: &Loaded) {
        for finding in &mut self.findings {
            finding.fix = loaded.typed(&finding.fix);
        }
    }

    fn add(
        &mut self,
        severity: Severity,
        code: Option<CheckCode>,
        about: &str,
        message: String,
        fix: String,
    ) {
        self.findings.push(Finding {
            code,
            severity,
            service: about.to_owned(),
            message,
            fix,
            file: None,
            line: None,
        });
    }

    /// Where the last finding is written.
    pub(super) fn at(&mut self, file: &str, line: usize) {
        if let Some(last) = self.findings.last_mut() {
            last.file = Some(file.to_owned());
            last.line = Some(line);
        }
    }

    /// Where findings about the compose file are written in it.
    pub(super) fn find_places(&mut self, loaded: &Loaded) {
        for finding in &mut self.findings {
            let key = finding.code.and_then(CheckCode::key);
            let (Some(key), None) = (key, &finding.file) else {
                continue;
            };
            let at = |key: &str| {
                let key = (finding.service.clone(), key.to_owned());
                loaded.places.get(&key)
            };
            if let Some((file, line)) = at(key).or_else(|| at("")) {
                finding.file = Some(file.display().to_string());
                finding.line = Some(*line);
            }
        }
    }

    /// What is about one subject stands together, the worst first.
    pub(super) fn group(&mut self) {
        let mut order: Vec<String> = Vec::new();
        for finding in &self.findings {
            if !order.contains(&finding.service) {
                order.push(finding.service.clone());
            }
        }
        let rank = |finding: &Finding| {
            let subject = order.iter().position(|one| *one == finding.service);
            (subject, std::cmp::Reverse(finding.severity))
        };
        self.findings.sort_by_key(rank);
    }

    pub(super) fn count(&self, severity: Severity) -> usize {
        let all = self.findings.iter();
        all.filter(|one| one.severity == severity).count()
    }

    /// The same as a document for scripts.
    pub(super) fn document(&self) -> CheckDocument<'_> {
        let findings = self.findings.iter().filter_map(|one| {
            Some(FindingRow {
                code: one.code?.label(),
                severity: one.severity,
                service: &one.service,
                message: one.message.trim_end(),
                fix: Some(one.fix.as_str()).filter(|fix| !fix.is_empty()),
                file: one.file.as_deref(),
                line: one.line,
            })
        });
        let passed = self.findings.iter().filter(|one| one.code.is_none());
        CheckDocument {
            version: 1,
            project: &self.project,
            findings: findings.collect(),
            passed: passed
                .map(|one| Passed {
                    service: &one.service,
                    message: &one.message,
                })
                .collect(),
        }
    }

    /// Severity and code of all that is not right.
    #[cfg(test)]
    pub(super) fn codes(&self) -> Vec<String> {
        let document = self.document();
        let each = document.findings.iter().map(|one| {
            let severity = serde_json::to_value(one.severity).unwrap();
            format!("{} {}", severity.as_str().unwrap(), one.code)
        });
        each.collect()
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            let (word, colour) = match finding.severity {
                Severity::Ok => ("ok", AnsiColors::Green),
                Severity::Hint => ("hint", AnsiColors::Cyan),
                Severity::Warning => ("warning", AnsiColors::Yellow),
                Severity::Error => ("error", AnsiColors::Red),
            };
            write!(
                f,
                "{:<7}  {}: {}",
                word.color(colour),
                plain(&finding.service),
                // Further lines stay below the first one.
                plain(finding.message.trim_end()).replace('\n', "\n         ")
            )?;
            match finding.code {
                Some(code) => writeln!(f, " {}", format_args!("[{}]", code.label()).dimmed())?,
                None => writeln!(f)?,
            }
            for line in finding.fix.lines() {
                writeln!(f, "         → {}", plain(line))?;
            }
        }
        let plural = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
        write!(
            f,
            "\n{}, {}",
            plural(self.count(Severity::Error), "error"),
            plural(self.count(Severity::Warning), "warning")
        )?;
        match self.count(Severity::Hint) {
            0 => writeln!(f),
            hints => writeln!(f, ", {}", plural(hints, "hint")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_together_stands_together_and_the_worst_comes_first() {
        let mut report = CheckReport::new("shop");
        report.ok("web", "may have 1 to 4 replicas");
        report.ok("engine", "Docker 28");
        report.hint(CheckCode::NoRestart, "web", "nothing starts it", "a policy");
        report.error(CheckCode::HostPort, "web", "a port", "another");
        report.group();
        let text = anstream::adapter::strip_str(&report.to_string()).to_string();
        assert_eq!(
            text,
            "error    web: a port [host-port]\n         → another\nhint     web: nothing starts it [no-restart]\n         → a policy\nok       web: may have 1 to 4 replicas\nok       engine: Docker 28\n\n1 error, 0 warnings, 1 hint\n"
        );
    }

    #[test]
    fn the_document_has_what_was_found_apart_from_what_is_right() {
        let mut report = CheckReport::new("shop");
        report.ok("web", "fine");
        report.warn(CheckCode::NginxBypass, "web", "past it", "");
        report.at("/etc/nginx/nginx.conf", 7);
        let json = serde_json::to_value(report.document()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "version": 1,
                "project": "shop",
                "findings": [{
                    "code": "nginx-bypass", "severity": "warning", "service": "web", "message": "past it",
                    "fix": null, "file": "/etc/nginx/nginx.conf", "line": 7
                }],
                "passed": [{"service": "web", "message": "fine"}]
            })
        );
    }
}
