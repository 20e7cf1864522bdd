//! The text format in which Prometheus reads metrics ("text-based format" 0.0.4, and of
//! `OpenMetrics` what differs for a reader of numbers: `# EOF` and exemplars).

use std::{collections::BTreeMap, iter::Peekable, str::Chars};

use super::{SourceError, differing_labels, has};

/// One line that is a sample.
#[derive(Debug, PartialEq)]
struct ExpositionSample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// The value of the one sample with this name and at least these labels.
pub(super) fn sample(
    text: &str,
    name: &str,
    labels: &BTreeMap<String, String>,
) -> Result<f64, SourceError> {
    let mut found = Vec::new();
    let mut lines = 0;
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let one = parse(line).ok_or_else(|| SourceError::Broken {
            why: format!("no sample in {}", super::quoted(line)),
        })?;
        lines += 1;
        if one.name == name && has(&one.labels, labels) {
            found.push(one);
        }
    }
    match found.as_slice() {
        [one] => Ok(one.value),
        [] if lines == 0 => Err(SourceError::NoNumber {
            found: "an answer without samples".into(),
        }),
        [] => Err(SourceError::NoSample {
            wanted: shown(name, labels),
        }),
        several => Err(SourceError::Several {
            count: several.len(),
            of: "samples",
            differ: differing_labels(several.iter().map(|one| &one.labels)),
        }),
    }
}

fn shown(name: &str, labels: &BTreeMap<String, String>) -> String {
    if labels.is_empty() {
        return name.to_owned();
    }
    let labels: Vec<_> = labels
        .iter()
        .map(|(label, value)| format!("{label}={value:?}"))
        .collect();
    format!("{name}{{{}}}", labels.join(","))
}

/// `name{label="value", …} number [time] [# exemplar]`; a name that is no plain word is in quotes
/// within the braces.
fn parse(line: &str) -> Option<ExpositionSample> {
    let mut rest = line.chars().peekable();
    let mut name = word(&mut rest);
    let mut labels = BTreeMap::new();
    blanks(&mut rest);
    if rest.next_if_eq(&'{').is_some() {
        loop {
            blanks(&mut rest);
            if rest.next_if_eq(&'}').is_some() {
                break;
            }
            let quoted = rest.peek() == Some(&'"');
            let label = if quoted {
                text(&mut rest)?
            } else {
                word(&mut rest)
            };
            blanks(&mut rest);
            if rest.next_if_eq(&'=').is_some() {
                blanks(&mut rest);
                labels.insert(label, text(&mut rest)?);
            } else if quoted && name.is_empty() {
                name = label;
            } else {
                return None;
            }
            blanks(&mut rest);
            if rest.next_if_eq(&',').is_none() && rest.peek() != Some(&'}') {
                return None;
            }
        }
    }
    let rest: String = rest.collect();
    // What may follow, a time and an exemplar, does not matter.
    let value = rest.split_whitespace().next()?.parse().ok()?;
    (!name.is_empty()).then_some(ExpositionSample {
        name,
        labels,
        value,
    })
}

fn blanks(rest: &mut Peekable<Chars<'_>>) {
    while rest.next_if(|c| c.is_whitespace()).is_some() {}
}

fn word(rest: &mut Peekable<Chars<'_>>) -> String {
    let mut word = String::new();
    while let Some(c) = rest.next_if(|c| c.is_alphanumeric() || matches!(c, '_' | ':')) {
        word.push(c);
    }
    word
}

/// A text in quotes, in which `\\`, `\"` and `\n` stand for what they look like.
fn text(rest: &mut Peekable<Chars<'_>>) -> Option<String> {
    rest.next_if_eq(&'"')?;
    let mut text = String::new();
    loop {
        match rest.next()? {
            '"' => return Some(text),
            '\\' => match rest.next()? {
                'n' => text.push('\n'),
                c @ ('\\' | '"') => text.push(c),
                c => text.extend(['\\', c]),
            },
            c => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
# HELP queue_depth Jobs that wait. {not="a sample"} 3
# TYPE queue_depth gauge
queue_depth{queue="mail",priority="1"} 12 1767268800000
queue_depth{queue="mail",priority="2",} 3.5e2
queue_depth { queue = "say \"hi\"\\\n", priority="1" }	7
up 1
temperature -3
ratio NaN
most +Inf
http_request_duration_seconds_bucket{le="+Inf"} 144320
http_request_duration_seconds_bucket{le="0.05"} 24054 # {trace="x} 9"} 0.04 1767268800.5
{"jobs.waiting",queue="mail"} 4
{"jobs.waiting","queue.name"="print"} 5
# EOF
"#;

    fn read(name: &str, labels: &[(&str, &str)]) -> String {
        let labels = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        match sample(TEXT, name, &labels) {
            Ok(number) => number.to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn one_sample_is_found_by_its_name_and_by_at_least_these_labels() {
        assert_eq!(read("up", &[]), "1");
        assert_eq!(read("temperature", &[]), "-3");
        assert_eq!(read("ratio", &[]), "NaN");
        assert_eq!(read("most", &[]), "inf");
        let mail = ("queue", "mail");
        assert_eq!(read("queue_depth", &[mail, ("priority", "1")]), "12");
        assert_eq!(read("queue_depth", &[("priority", "2")]), "350");
        let bucket = "http_request_duration_seconds_bucket";
        assert_eq!(read(bucket, &[("le", "0.05")]), "24054");
        assert_eq!(read(bucket, &[("le", "+Inf")]), "144320");
    }

    #[test]
    fn values_of_labels_are_unescaped_and_names_may_be_quoted() {
        assert_eq!(read("queue_depth", &[("queue", "say \"hi\"\\\n")]), "7");
        assert_eq!(read("jobs.waiting", &[("queue", "mail")]), "4");
        assert_eq!(read("jobs.waiting", &[("queue.name", "print")]), "5");
        // A label that is not there is one that is empty.
        assert_eq!(read("jobs.waiting", &[("queue", "")]), "5");
    }

    #[test]
    fn several_samples_are_an_error_that_names_the_labels_to_add() {
        assert_eq!(
            read("queue_depth", &[("queue", "mail")]),
            "2 samples, expected one; pick one with `labels` (priority)"
        );
        assert_eq!(
            read("queue_depth", &[]),
            "3 samples, expected one; pick one with `labels` (priority, queue)"
        );
        assert_eq!(
            read("queue_depth", &[("queue", "print")]),
            "no sample of `queue_depth{queue=\"print\"}`"
        );
        assert_eq!(read("down", &[]), "no sample of `down`");
    }

    #[test]
    fn what_is_no_text_of_this_format_is_an_error() {
        for (text, expected) in [
            ("<html>", "no sample in `<html>`"),
            ("up", "no sample in `up`"),
            ("up one", "no sample in `up one`"),
            ("up{a=\"b} 1", "no sample in `up{a=\"b} 1`"),
            (
                "up{a=\"b\" c=\"d\"} 1",
                "no sample in `up{a=\"b\" c=\"d\"} 1`",
            ),
            ("up{a} 1", "no sample in `up{a} 1`"),
            ("{a=\"b\"} 1", "no sample in `{a=\"b\"} 1`"),
            ("", "no number in an answer without samples"),
        ] {
            let error = sample(text, "up", &BTreeMap::new()).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
    }
}
