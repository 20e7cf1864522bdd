//! One service: its replicas, what was decided, and what happened to it.

use std::fmt::Write as _;

use ratatui::{
    Frame,
    layout::Rect,
    style::{Color, Style},
    text::{Line, Span},
    widgets::Paragraph,
};

use super::{
    model::Model,
    overview::held,
    style::{Paint, event_lines, figure, titled, wrapped},
};
use crate::{
    project::Health,
    reconcile::{EventLevel, ReplicaView, ServiceView},
    telemetry::plain,
    units::Short,
};

pub(super) fn draw(model: &Model, frame: &mut Frame<'_>, area: Rect) {
    let Some(view) = model.service() else {
        return;
    };
    let block = titled(&plain(&view.service));
    let inner = block.inner(area);
    let lines = lines(model, view, inner.width);
    let most = lines.len().saturating_sub(usize::from(inner.height));
    // Page down goes on, as one reads.
    let skipped = usize::from(model.scrolled.get()).min(most);
    model
        .scrolled
        .set(u16::try_from(skipped).unwrap_or(u16::MAX));
    let shown: Vec<_> = lines.into_iter().skip(skipped).collect();
    frame.render_widget(Paragraph::new(shown).block(block), area);
}

fn lines(model: &Model, view: &ServiceView, width: u16) -> Vec<Line<'static>> {
    let paint = Paint(model.colour);
    let mut lines = Vec::new();
    let mut first = match view.desired {
        Some(desired) => format!("{} of {desired} serving", view.serving),
        None => format!("{} serving", view.serving),
    };
    if let (Some(min), Some(max)) = (view.min, view.max) {
        let _ = write!(first, ", {min} to {max} allowed");
    }
    for metric in &view.metrics {
        let value = metric
            .value
            .map_or("unknown".to_owned(), |value| figure(value, metric.unit));
        let _ = write!(first, ", {} {value}", metric.metric);
        if let Some(target) = metric.target {
            let _ = write!(first, " (target {})", figure(target, metric.unit));
        }
    }
    lines.extend(wrapped(&first, width, Style::new()));
    if let Some(held) = held(view) {
        lines.push(Line::styled(held, paint.of(Color::Cyan)));
    }
    if let Some(why) = &view.standstill {
        lines.extend(wrapped(&plain(why), width, paint.of(Color::Yellow)));
    }
    if let Some(decision) = &view.decision {
        let text = format!(
            "{}  {} ({})",
            decision.at.clock_in(&model.zone),
            plain(&decision.message),
            decision.reason
        );
        lines.extend(wrapped(&text, width, Style::new()));
    }
    for why in &view.outliers {
        lines.extend(wrapped(&plain(why), width, paint.of(Color::Yellow)));
    }
    lines.push(Line::default());
    lines.extend(table(&view.replicas, width));
    lines.push(Line::default());
    let events = model.events.iter().rev();
    for event in events.filter(|event| event.service.as_ref() == Some(&view.service)) {
        lines.extend(event_lines(event, model, false, width));
    }
    if let Some(snapshot) = &model.snapshot {
        for trouble in &snapshot.troubles {
            lines.extend(wrapped(
                &format!("! {}", plain(trouble)),
                width,
                paint.level(EventLevel::Error),
            ));
        }
    }
    lines
}

/// The end of a text that fits into so many characters.
fn tail(text: &str, room: usize) -> String {
    let long = text.chars().count();
    if long <= room {
        return text.to_owned();
    }
    let end: String = text.chars().skip(long - room + 1).collect();
    format!("…{end}")
}

/// The replicas, with as many columns as there is room for.
fn table(replicas: &[ReplicaView], width: u16) -> Vec<Line<'static>> {
    let share = |value: Option<f64>| value.map_or("-".into(), |value| format!("{}%", Short(value)));
    let number = |value: Option<f64>| value.map_or("-".into(), |value| Short(value).to_string());
    let header = [
        "REPLICA", "PHASE", "HEALTH", "NGINX", "AGE", "CPU", "MEMORY", "REQ/S", "P95", "ADDRESS",
    ];
    let mut rows = vec![header.map(ToOwned::to_owned)];
    for one in replicas {
        rows.push([
            // Its number is at the end.
            tail(
                &plain(&one.name),
                usize::from(width).saturating_sub(45).max(16),
            ),
            one.phase.clone(),
            match one.health {
                Health::None => "-",
                Health::Starting => "starting",
                Health::Healthy => "healthy",
                Health::Unhealthy => "unhealthy",
            }
            .to_owned(),
            if one.in_nginx { "yes" } else { "no" }.to_owned(),
            one.age.map_or("-".into(), |age| {
                crate::units::Span::seconds(age.0.as_secs()).to_string()
            }),
            share(one.cpu),
            share(one.memory),
            number(one.requests),
            one.p95.map_or("-".into(), |p95| format!("{p95:.0}ms")),
            one.address.clone().unwrap_or_else(|| "-".into()),
        ]);
    }
    let mut lines = vec![Vec::new(); rows.len()];
    let mut used = 0;
    for column in 0..header.len() {
        // What nobody has is not shown.
        if column > 0 && rows.iter().skip(1).all(|row| row[column] == "-") {
            continue;
        }
        let long = |row: &[String; 10]| row[column].chars().count();
        let wide = rows.iter().map(long).max().unwrap_or(0);
        if used + wide > usize::from(width) {
            continue;
        }
        used += wide + 2;
        for (line, row) in lines.iter_mut().zip(&rows) {
            line.push(Span::raw(format!("{:<wide$}  ", row[column])));
        }
    }
    let mut lines: Vec<_> = lines.into_iter().map(Line::from).collect();
    if let Some(head) = lines.first_mut() {
        *head = head.clone().style(Paint::dim());
    }
    lines
}
