//! A block of lines for each service.

use std::fmt::Write as _;

use ratatui::{
    Frame,
    layout::Rect,
    style::{Color, Modifier},
    text::{Line, Span},
    widgets::Paragraph,
};

use super::{
    model::Model,
    sparkline::spark,
    style::{Paint, cut, figure, titled},
};
use crate::{
    reconcile::{EventKind, MetricView, ServiceView},
    telemetry::plain,
};

/// Replicas that are drawn one by one.
const DRAWN: usize = 24;

/// Lines that all of it takes, with the title.
pub(super) fn height(model: &Model, width: u16) -> u16 {
    let services = model
        .snapshot
        .iter()
        .flat_map(|s| s.services.iter().enumerate());
    let lines: usize = services
        .map(|(index, one)| block(model, index, one, width).len())
        .sum();
    u16::try_from(lines + 1).unwrap_or(u16::MAX)
}

pub(super) fn draw(model: &Model, frame: &mut Frame<'_>, area: Rect) {
    let title = titled("services");
    let Some(snapshot) = &model.snapshot else {
        let text = Line::styled("looking …", Paint::dim());
        frame.render_widget(Paragraph::new(text).block(title), area);
        return;
    };
    let room = usize::from(title.inner(area).height);
    let blocks = snapshot.services.iter().enumerate();
    let blocks: Vec<_> = blocks
        .map(|(index, one)| block(model, index, one, area.width))
        .collect();
    // The chosen one is in sight, and as much as can be of those above it.
    let until: usize = blocks.iter().take(model.selected + 1).map(Vec::len).sum();
    // Its name before all that is below it.
    let begin: usize = blocks.iter().take(model.selected).map(Vec::len).sum();
    let skipped = until.saturating_sub(room).min(begin);
    let lines: Vec<_> = blocks
        .into_iter()
        .flatten()
        .skip(skipped)
        .take(room)
        .collect();
    frame.render_widget(Paragraph::new(lines).block(title), area);
}

fn block(model: &Model, index: usize, view: &ServiceView, width: u16) -> Vec<Line<'static>> {
    let paint = Paint(model.colour);
    let chosen = index == model.selected;
    let mut first = vec![
        Span::raw(if chosen { "▸ " } else { "  " }),
        Span::styled(
            format!(
                "{:<12} ",
                cut(&plain(&view.service), usize::from(width) / 3)
            ),
            if chosen {
                Paint::bold().add_modifier(Modifier::REVERSED)
            } else {
                Paint::bold()
            },
        ),
    ];
    if model.is_away() {
        first.push(Span::styled(
            "unknown while the Engine does not answer",
            paint.of(Color::Red),
        ));
    } else {
        first.extend(replicas(view, &paint));
        first.push(Span::raw(format!("  {}", counts(view))));
    }
    let mut lines = vec![Line::from(first)];
    for metric in &view.metrics {
        lines.push(load(model, view, metric, width, &paint));
    }
    if let Some(held) = held(view) {
        lines.push(Line::styled(format!("    {held}"), paint.of(Color::Cyan)));
    }
    let why = if let Some(why) = &view.standstill {
        Some((why.clone(), paint.of(Color::Yellow)))
    } else {
        view.decision.as_ref().map(|decision| {
            let at = decision.at.clock_in(&model.zone);
            (format!("{} ({at})", decision.message), Paint::dim())
        })
    };
    if let Some((why, style)) = why {
        let room = usize::from(width).saturating_sub(4);
        lines.push(Line::styled(
            format!("    {}", cut(&plain(&why), room)),
            style,
        ));
    }
    lines
}

/// What a person has said about its count.
pub(super) fn held(view: &ServiceView) -> Option<String> {
    let mut all = Vec::new();
    all.extend(view.hold.map(|hold| EventKind::from(hold).to_string()));
    all.extend(view.paused.map(|paused| paused.to_string()));
    (!all.is_empty()).then(|| all.join(", "))
}

fn counts(view: &ServiceView) -> String {
    let mut text = match view.desired {
        Some(desired) => format!("{} of {desired}", view.serving),
        None => format!("{}", view.serving),
    };
    if let (Some(min), Some(max)) = (view.min, view.max) {
        let _ = write!(text, "  ({min} to {max})");
    }
    text
}

/// A sign for each replica, by what it does.
pub(super) fn replicas(view: &ServiceView, paint: &Paint) -> Vec<Span<'static>> {
    let count = |words: &[&str]| {
        let of = view
            .replicas
            .iter()
            .filter(|one| words.contains(&one.phase.as_str()));
        of.count()
    };
    let known = view.replicas.len();
    let down = count(&["down"]);
    let coming = view.desired.unwrap_or(0) as usize;
    let there = known.saturating_sub(count(&["draining", "stopping"]) + down);
    let groups = [
        ("●", count(&["serving"]), Color::Green),
        ("◐", count(&["starting", "ready"]), Color::Yellow),
        ("✗", down, Color::Red),
        ("·", coming.saturating_sub(there), Color::Reset),
        ("◌", count(&["draining", "stopping"]), Color::Blue),
    ];
    let mut room = DRAWN;
    let mut spans = Vec::new();
    for (sign, count, colour) in groups {
        let drawn = count.min(room);
        room -= drawn;
        if drawn > 0 {
            spans.push(Span::styled(sign.repeat(drawn), paint.of(colour)));
        }
    }
    if room == 0 {
        spans.push(Span::raw("…"));
    }
    spans
}

fn load(
    model: &Model,
    view: &ServiceView,
    metric: &MetricView,
    width: u16,
    paint: &Paint,
) -> Line<'static> {
    let mut name = plain(&metric.metric).into_owned();
    if let Some(percentile) = &metric.percentile {
        name = format!("{name} {percentile}");
    }
    let value = metric
        .value
        .map_or("unknown".to_owned(), |value| figure(value, metric.unit));
    let target = metric.target.map_or(String::new(), |target| {
        format!(" of {}", figure(target, metric.unit))
    });
    let colour = match (metric.value, metric.target) {
        (Some(value), Some(target)) if value > target * 1.1 => Color::Red,
        (Some(_), _) => Color::Reset,
        (None, _) => Color::Yellow,
    };
    let text = format!("    {name:<12} ");
    let figures = format!("{:<18}", format!("{value}{target}"));
    let room =
        usize::from(width).saturating_sub(text.chars().count() + figures.chars().count() + 1);
    let values = model
        .values
        .get(&(view.service.clone(), metric.metric.clone()));
    let line = spark(
        values.map_or(&[], Vec::as_slice),
        metric.target,
        room.min(60),
    );
    Line::from(vec![
        Span::raw(text),
        Span::styled(figures, paint.of(colour)),
        Span::styled(line, paint.of(Color::Cyan)),
    ])
}
