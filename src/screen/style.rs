//! Styles and pieces of text that every view uses.

use std::fmt::Write as _;

use ratatui::{
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::{Block, Borders},
};

use super::model::{EventLine, Model};
use crate::{decide::MetricUnit, reconcile::EventLevel, telemetry::plain, units::Short};

/// Styles, or none where there is no colour.
pub(super) struct Paint(pub(super) bool);

impl Paint {
    pub(super) fn of(&self, colour: Color) -> Style {
        if self.0 {
            Style::new().fg(colour)
        } else {
            Style::new()
        }
    }

    pub(super) fn level(&self, level: EventLevel) -> Style {
        match level {
            EventLevel::Error => self.of(Color::Red).add_modifier(Modifier::BOLD),
            EventLevel::Warn => self.of(Color::Yellow),
            EventLevel::Info | EventLevel::Debug => Style::new(),
        }
    }

    pub(super) fn dim() -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    pub(super) fn bold() -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }
}

/// A block with a title and a line above.
pub(super) fn titled(title: &str) -> Block<'static> {
    Block::new()
        .borders(Borders::TOP)
        .border_style(Paint::dim())
        .title(Span::styled(format!(" {title} "), Paint::bold()))
}

/// An event: its first line has the time, long ones go on below.
pub(super) fn event_lines(
    event: &EventLine,
    model: &Model,
    several: bool,
    width: u16,
) -> Vec<Line<'static>> {
    let paint = Paint(model.colour);
    let mut begin = format!("{}  ", event.at.clock_in(&model.zone));
    if several && let Some(service) = &event.service {
        let _ = write!(begin, "{}: ", plain(service));
    }
    let indent = 10;
    let style = if event.is_told {
        paint.of(Color::Cyan).add_modifier(Modifier::BOLD)
    } else {
        paint.level(event.level)
    };
    let mut lines = Vec::new();
    for (index, line) in event.text.lines().enumerate() {
        let text = if index == 0 {
            format!("{begin}{line}")
        } else {
            format!("{}{line}", " ".repeat(indent))
        };
        lines.extend(wrapped(&text, width, style));
    }
    lines
}

/// A text in lines that fit, those after the first set in.
pub(super) fn wrapped(text: &str, width: u16, style: Style) -> Vec<Line<'static>> {
    let width = usize::from(width).max(20);
    let mut lines = Vec::new();
    let mut line = String::new();
    let long = |line: &str| Span::raw(line).width();
    for word in text.split_inclusive(' ') {
        if !line.trim().is_empty() && long(&line) + long(word.trim_end()) > width {
            lines.push(Line::styled(std::mem::take(&mut line), style));
            line.push_str(&" ".repeat(10));
        }
        let mut word = word;
        // A word that is longer than a line is cut.
        while long(&line) + long(word.trim_end()) > width {
            let room = width.saturating_sub(long(&line));
            let one = word.chars().next().map_or(1, char::len_utf8);
            let end = fitting(word, room).max(one);
            line.push_str(&word[..end]);
            word = &word[end..];
            lines.push(Line::styled(std::mem::take(&mut line), style));
        }
        line.push_str(word);
    }
    lines.push(Line::styled(line, style));
    lines
}

/// A number with its unit.
pub(super) fn figure(value: f64, unit: MetricUnit) -> String {
    match unit {
        MetricUnit::Millis => format!("{value:.0}ms"),
        MetricUnit::Percent => format!("{}%", Short(value)),
        _ => Short(value).to_string(),
    }
}

/// A text of at most so many cells.
pub(super) fn cut(text: &str, room: usize) -> String {
    let text = text.replace('\n', " ");
    if Span::raw(&text).width() <= room {
        return text;
    }
    let end = fitting(&text, room.saturating_sub(1));
    format!("{}…", &text[..end])
}

/// How many bytes of a text fit into so many cells.
pub(super) fn fitting(text: &str, room: usize) -> usize {
    let mut cells = 0;
    for (at, char) in text.char_indices() {
        let mut one = [0; 4];
        cells += Span::raw(&*char.encode_utf8(&mut one)).width();
        if cells > room {
            return at;
        }
    }
    text.len()
}
