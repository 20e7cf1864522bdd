//! `compose-scale explain`

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use clap::Args;
use serde_json::Value;

use super::{
    Failure,
    output::{self, OutputFormat},
};
use crate::decide::{self, Input};

/// Who explains has a decision at hand, not a data set; more is a mistaken file.
const LARGEST: u64 = 256 * 1024 * 1024;

#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// File with decision inputs: a recording or a scaling.log; - is standard input
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    input: PathBuf,
    /// Only this service
    #[arg(long, value_name = "SERVICE")]
    service: Option<String>,
    /// Output format; json prints one line per decision
    #[arg(long, value_enum, default_value_t = OutputFormat::Text)]
    format: OutputFormat,
}

pub(super) fn run(args: &ExplainArgs) -> Result<(), Failure> {
    let (name, text) = read(args)?;
    let mut inputs = inputs(&name, &text)?;
    if let Some(wanted) = &args.service {
        inputs.retain(|input| input.service.as_ref() == Some(wanted));
    }
    if inputs.is_empty() {
        return Err(Failure::Work(vec![match &args.service {
            Some(service) => format!("{name}: no decision of {service} in it"),
            None => format!(
                "{name}: no decision in it; expected an object with `now`, `policy` and `replicas`, as `watch --record` writes it"
            ),
        }]));
    }
    let several = inputs.len() > 1;
    for (index, input) in inputs.iter().enumerate() {
        let decision = decide::decide(input);
        match args.format {
            OutputFormat::Json => output::json_line(&decision)?,
            OutputFormat::Text => {
                let gap = if index > 0 { "\n" } else { "" };
                let heading = if several || input.service.is_some() {
                    heading(input)
                } else {
                    String::new()
                };
                let explained = decide::explain_text(input, &decision);
                output::text(&format!("{gap}{heading}{explained}"))?;
            }
        }
    }
    Ok(())
}

/// Which decision it is: `2026-01-01T12:00:00Z web`.
fn heading(input: &Input) -> String {
    let service = input
        .service
        .as_deref()
        .map_or(String::new(), |s| format!(" {s}"));
    format!("{}{service}\n", input.now)
}

/// The text and the name to call it by.
fn read(args: &ExplainArgs) -> Result<(String, String), Failure> {
    if args.input.as_os_str() == "-" {
        use std::io::IsTerminal;
        if std::io::stdin().is_terminal() {
            return Err(Failure::Usage(
                "expected a decision on standard input, or --input FILE, for example a scaling.log"
                    .into(),
            ));
        }
        bounded("standard input".to_owned(), std::io::stdin())
    } else {
        file(&args.input)
    }
}

/// A file as a text, and the name to call it by.
pub(super) fn file(path: &Path) -> Result<(String, String), Failure> {
    let name = path.display().to_string();
    let file = std::fs::File::open(path)
        .map_err(|error| Failure::Work(vec![format!("cannot read {name}: {error}")]))?;
    bounded(name, file)
}

fn bounded(name: String, source: impl Read) -> Result<(String, String), Failure> {
    let mut text = String::new();
    let length = source
        .take(LARGEST + 1)
        .read_to_string(&mut text)
        .map_err(|error| Failure::Work(vec![format!("cannot read {name}: {error}")]))?;
    if length as u64 > LARGEST {
        return Err(Failure::Work(vec![format!(
            "{name} is larger than {} MiB",
            LARGEST >> 20
        )]));
    }
    Ok((name, text))
}

/// All inputs of a text, or the first mistake with its line. Lines of `scaling.log` are told by
/// their `event`; those that carry no input are passed over.
pub(super) fn inputs(name: &str, text: &str) -> Result<Vec<Input>, Failure> {
    let mut documents = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    let mut inputs = Vec::new();
    let (mut line, mut counted) = (1, 0);
    loop {
        let rest = text[documents.byte_offset()..].trim_start();
        let begin = text.len() - rest.len();
        line += text[counted..begin].matches('\n').count();
        counted = begin;
        let Some(document) = documents.next() else {
            return Ok(inputs);
        };
        let wrong = |what: String| Failure::Config(format!("{name}:{line}: {what}"));
        let document = document.map_err(|error| Failure::Config(format!("{name}: {error}")))?;
        let logged = document.get("event").is_some();
        let value = if logged {
            let mut note = document;
            let service = note["service"].as_str().map(ToOwned::to_owned);
            let Some(Value::Object(mut input)) = note.get_mut("input").map(Value::take) else {
                continue;
            };
            if let Some(service) = service {
                input.entry("service").or_insert(service.into());
            }
            Value::Object(input)
        } else {
            document
        };
        if !value.is_object() {
            return Err(wrong(format!(
                "found {}, expected an object with `now`, `policy` and `replicas`",
                kind(&value)
            )));
        }
        let input = serde_path_to_error::deserialize::<_, Input>(&value).map_err(|error| {
            let path = error.path().to_string();
            let message = error.into_inner().to_string();
            // A policy names its own path.
            if path == "." || message.starts_with(path.as_str()) {
                wrong(message)
            } else {
                wrong(format!("{path}: {message}"))
            }
        })?;
        inputs.push(input);
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
