//! Questions, on a terminal only.

use std::io::{IsTerminal as _, Write as _};

use crate::{cli::Failure, init::record::Choice, telemetry::plain};

/// Whether somebody is there to be asked.
pub(super) fn is_terminal() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// One question; what is proposed is the answer of who presses Enter.
fn line(question: &str, proposed: &str) -> Result<String, Failure> {
    let mut stderr = anstream::stderr().lock();
    let _ = write!(stderr, "{} [{}] ", plain(question), plain(proposed));
    let _ = stderr.flush();
    drop(stderr);
    let mut answer = String::new();
    if std::io::stdin().read_line(&mut answer)? == 0 {
        return Err(Failure::Usage(
            "nothing was written: there was no answer".into(),
        ));
    }
    let answer = answer.trim();
    Ok(if answer.is_empty() { proposed } else { answer }.to_owned())
}

/// The same until the answer can be read.
fn until<T: std::str::FromStr>(question: &str, proposed: &str) -> Result<T, Failure> {
    loop {
        if let Ok(value) = line(question, proposed)?.parse() {
            return Ok(value);
        }
    }
}

pub(super) fn yes(question: &str) -> Result<bool, Failure> {
    let answer = line(question, "y/N")?.to_ascii_lowercase();
    Ok(answer == "y" || answer == "yes")
}

pub(super) fn services(proposed: &[String]) -> Result<Vec<String>, Failure> {
    let answer = line("Which services shall be scaled?", &proposed.join(" "))?;
    let names = answer.split([' ', ',']).filter(|name| !name.is_empty());
    Ok(names.map(str::to_owned).collect())
}

/// How many, by what, and where, of one service.
pub(super) fn numbers(choice: &mut Choice, port: Option<u16>) -> Result<(), Failure> {
    let name = choice.service.clone();
    choice.min = until(&format!("{name}: at least"), &choice.min.to_string())?;
    choice.max = until(
        &format!("{name}: at most"),
        &choice.max.max(choice.min).to_string(),
    )?;
    choice.cpu = loop {
        let answer = line(&format!("{name}: CPU load to hold"), &choice.cpu)?;
        if let Ok(share) = super::share(&answer) {
            break share;
        }
    };
    if choice.port.or(port).is_none() {
        let answer = line(
            &format!("{name}: which port does it listen on, for nginx?"),
            "none, it is a worker",
        )?;
        choice.port = answer.parse().ok().filter(|port| *port > 0);
    }
    Ok(())
}
