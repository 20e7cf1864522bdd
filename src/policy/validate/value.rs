//! Readers of single values.

use std::str::FromStr;

use super::cursor::Cursor;
use crate::units::{Percent, Span, UnitError};

/// A whole number between two others.
pub(super) fn count(at: &Cursor<'_>, least: u32, most: u32) -> Option<u32> {
    at.value()
        .as_u64()
        .and_then(|number| u32::try_from(number).ok())
        .filter(|number| (least..=most).contains(number))
        .or_else(|| at.expected(format_args!("a whole number from {least} to {most}")))
}

/// A port that something can listen on.
pub(super) fn port(at: &Cursor<'_>) -> Option<u16> {
    u16::try_from(count(at, 1, u16::MAX.into())?).ok()
}

/// A finite number greater than zero.
pub(super) fn above_zero(at: &Cursor<'_>) -> Option<f64> {
    at.value()
        .as_f64()
        .filter(|number| number.is_finite() && *number > 0.0)
        .or_else(|| at.expected("a number above 0"))
}

/// A percentage greater than zero.
pub(super) fn share(at: &Cursor<'_>) -> Option<Percent> {
    Some(unit::<Percent>(at)?)
        .filter(|share| share.get() > 0.0)
        .or_else(|| at.expected_text("a percentage above 0%"))
}

/// A duration, zero too.
pub(super) fn span(at: &Cursor<'_>) -> Option<Span> {
    // A recording is written in milliseconds and must be read back as it was.
    Some(unit::<Span>(at)?)
        .filter(|span| span.0.subsec_nanos() % 1_000_000 == 0)
        .or_else(|| at.expected_text("a duration of whole milliseconds"))
}

/// A duration of at least a millisecond.
pub(super) fn span_above_zero(at: &Cursor<'_>) -> Option<Span> {
    Some(span(at)?)
        .filter(|span| !span.0.is_zero())
        .or_else(|| at.expected_text("a duration above 0s"))
}

/// A text that is not empty and stays on its line.
pub(super) fn text(at: &Cursor<'_>, what: &str) -> Option<String> {
    at.value()
        .as_str()
        .filter(|text| !text.is_empty() && !text.chars().any(char::is_control))
        .map(str::to_owned)
        .or_else(|| at.expected_text(what))
}

/// One of several words.
pub(super) fn word<T: Clone>(at: &Cursor<'_>, words: &[(&str, T)], expected: &str) -> Option<T> {
    words
        .iter()
        .find(|(word, _)| at.value().as_str() == Some(word))
        .map(|(_, meaning)| meaning.clone())
        .or_else(|| at.expected_text(expected))
}

/// A command in the words it is run with, without a shell.
pub(super) fn argv(at: &Cursor<'_>, expected: &str) -> Option<Vec<String>> {
    let words = at.list(expected)?;
    if words.is_empty() {
        at.problem(format!("found an empty list, expected {expected}"));
        return None;
    }
    let read = |(position, word): (usize, &Cursor<'_>)| match word.value().as_str() {
        Some("") if position == 0 => word.expected("the name of a program"),
        Some(text) if text.contains('\0') => word.expected("a text without a NUL"),
        Some(text) => Some(text.to_owned()),
        None => word.expected("a text; put it in quotes"),
    };
    // All of them are read, for their mistakes.
    let words: Vec<_> = words.iter().enumerate().map(read).collect();
    words.into_iter().collect()
}

/// A text of a kind that has a reader of its own.
pub(super) fn parsed<T: FromStr<Err = UnitError>>(at: &Cursor<'_>) -> Option<T> {
    if !at.value().is_string() {
        let error = "".parse::<T>().err()?;
        return at.expected(error);
    }
    unit(at)
}

fn unit<T: FromStr<Err = UnitError>>(at: &Cursor<'_>) -> Option<T> {
    // What is no text is read as the empty one, which no unit is, for the error it gives.
    match at.value().as_str().unwrap_or_default().parse() {
        Ok(unit) => Some(unit),
        Err(error) => at.expected_text(error),
    }
}
