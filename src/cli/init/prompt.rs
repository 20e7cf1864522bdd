//! Questions, on a terminal only. Each is asked until its answer can be used.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use super::{say, share};
use crate::{cli::Failure, init::manifest::Choice, telemetry::plain};

/// Whether somebody is there to be asked.
pub(super) fn is_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// One question; what is proposed is the answer of who presses Enter.
fn line(question: &str, proposed: &str) -> Result<String, Failure> {
    let mut stderr = anstream::stderr().lock();
    let _ = write!(stderr, "{} [{}] ", plain(question), plain(proposed));
    let _ = stderr.flush();
    let mut answer = Vec::new();
    if std::io::stdin().lock().read_until(b'\n', &mut answer)? == 0 {
        let _ = writeln!(stderr);
        return Err(Failure::Usage(
            "nothing was written: there was no answer".into(),
        ));
    }
    let answer = String::from_utf8_lossy(&answer);
    let answer = answer.trim();
    Ok(if answer.is_empty() { proposed } else { answer }.to_owned())
}

/// The same until the answer is understood; what is wrong with one is said.
fn until<T>(
    question: &str,
    proposed: &str,
    understand: impl Fn(&str) -> Result<T, String>,
) -> Result<T, Failure> {
    loop {
        match understand(&line(question, proposed)?) {
            Ok(answer) => return Ok(answer),
            Err(what) => say(&format!("  {what}")),
        }
    }
}

pub(super) fn yes(question: &str) -> Result<bool, Failure> {
    until(question, "y/N", |answer| {
        match answer.to_ascii_lowercase().as_str() {
            "y" | "yes" => Ok(true),
            "n" | "no" | "y/n" => Ok(false),
            _ => Err("please say y or n; Enter is n, and then nothing is written".into()),
        }
    })
}

/// Names of services. `refuse` says what is wrong with one.
pub(super) fn services(
    proposed: &[String],
    refuse: impl Fn(&str) -> Option<String>,
) -> Result<Vec<String>, Failure> {
    let shown = match proposed {
        [] => "none".to_owned(),
        names => names.join(" "),
    };
    let question = "Which services should scale? Names, separated by spaces";
    until(question, &shown, |answer| {
        if proposed.is_empty() && answer == "none" {
            return Ok(Vec::new());
        }
        let names = answer.split([' ', ',']).filter(|name| !name.is_empty());
        let names: Vec<_> = names.map(str::to_owned).collect();
        match names.iter().find_map(|name| refuse(name)) {
            Some(what) => Err(what),
            None => Ok(names),
        }
    })
}

/// The service that sends requests to the others, of several that could.
pub(super) fn door(candidates: &[String]) -> Result<String, Failure> {
    let Some(first) = candidates.first() else {
        return Err(Failure::Usage(
            "name the service that runs nginx: --nginx NAME".into(),
        ));
    };
    let all = candidates.join(", ");
    let question =
        format!("Several services run nginx: {all}. Which one sends requests to the others?");
    until(&question, first, |answer| {
        let is_one = candidates.iter().any(|name| name == answer);
        let name = is_one.then(|| answer.to_owned());
        name.ok_or_else(|| format!("{answer} is not one of them: {all}"))
    })
}

/// How many, by what, and where, of one service. `limited` is whether it has a CPU limit.
pub(super) fn numbers(
    choice: &mut Choice,
    port: Option<u16>,
    limited: bool,
) -> Result<(), Failure> {
    let name = choice.service.clone();
    let count = |least: u32| {
        move |answer: &str| match answer.parse() {
            Ok(count) if (least..=1000).contains(&count) => Ok(count),
            _ => Err(format!("expected a whole number from {least} to 1000")),
        }
    };
    choice.min = until(
        &format!("{name}: how many replicas at least? With 2, a crash causes no downtime"),
        &choice.min.to_string(),
        count(1),
    )?;
    choice.max = until(
        &format!("{name}: how many at most?"),
        &choice.max.max(choice.min).to_string(),
        count(choice.min),
    )?;
    let of = if limited { "its CPU limit" } else { "one core" };
    choice.cpu = until(
        &format!(
            "{name}: how busy should a replica be, in percent of {of}? Above that, more are started"
        ),
        &choice.cpu,
        share,
    )?;
    if choice.port.or(port).is_none() {
        let question =
            format!("{name}: on which port does it receive requests? `none` for a worker");
        choice.port = until(&question, "none", |answer| match answer.parse() {
            Ok(port) if port > 0 => Ok(Some(port)),
            _ if answer == "none" => Ok(None),
            _ => Err("expected a port from 1 to 65535, or none".into()),
        })?;
    }
    Ok(())
}
