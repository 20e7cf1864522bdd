//! The frame: what is above and below, and which view is between.

use std::time::Duration;

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier},
    text::{Line, Span},
    widgets::{Paragraph, Wrap},
};

use super::{
    details,
    model::{Model, ScreenView},
    overview,
    style::{Paint, cut, event_lines, titled, wrapped},
};
use crate::{
    control::HostView,
    reconcile::EventLevel,
    telemetry::plain,
    units::{self, Size, Timestamp},
};

/// Less than this shows nothing of use.
const LEAST: (u16, u16) = (40, 8);

/// A loop that has said nothing for so long is stuck, or away.
const SILENCE: Duration = Duration::from_secs(5);

/// What each key does.
const KEYS: &[(&str, &str)] = &[
    ("↑ ↓, j k", "select a service"),
    ("+ -", "add or remove one replica, held for 10 minutes"),
    ("p", "pause or resume autoscaling"),
    ("enter", "details of the selected service, and back"),
    ("page up, down", "scroll events or details"),
    ("ctrl-l", "redraw the screen"),
    ("?", "this page"),
    ("q", "stop watch; replicas keep running"),
    (
        "ctrl-c",
        "stop at once; twice: without finishing steps in progress",
    ),
];

/// Draws all of it.
pub fn draw(model: &Model, now: Timestamp, frame: &mut Frame<'_>) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let text = format!("{} x {} is too small", area.width, area.height);
        frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
        return;
    }
    let [top, middle, bottom] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Min(1),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(Paragraph::new(head(model, now, top.width)), top);
    match model.view {
        ScreenView::Help => help(frame, middle),
        ScreenView::Details => details::draw(model, frame, middle),
        ScreenView::Overview => {
            let wanted = overview::height(model, middle.width);
            // Events have a third at least.
            let most = middle.height - (middle.height / 3).max(3).min(middle.height);
            let [services, events] =
                Layout::vertical([Constraint::Length(wanted.min(most)), Constraint::Min(1)])
                    .areas(middle);
            overview::draw(model, frame, services);
            events_pane(model, frame, events);
        }
    }
    frame.render_widget(Paragraph::new(foot(model, now, bottom.width)), bottom);
}

fn head(model: &Model, now: Timestamp, width: u16) -> Vec<Line<'static>> {
    let paint = Paint(model.colour);
    let Some(snapshot) = &model.snapshot else {
        return vec![between(
            vec![Span::styled("compose-scale", Paint::bold())],
            vec![Span::raw(now.clock_in(&model.zone))],
            width,
        )];
    };
    let sign = |text: &'static str, (sign, colour): (&'static str, Color)| {
        vec![
            Span::raw(text),
            Span::raw(" "),
            Span::styled(sign, paint.of(colour)),
            Span::raw("  "),
        ]
    };
    let left = vec![
        Span::styled("compose-scale", Paint::bold()),
        Span::raw("  "),
        Span::styled(plain(&snapshot.project).into_owned(), paint.of(Color::Cyan)),
        Span::styled(format!("  every {}", snapshot.interval), Paint::dim()),
    ];
    let mut right = match &snapshot.nginx {
        Some(_) if snapshot.in_step => sign("nginx", ("✓", Color::Green)),
        // It is being told.
        Some(_) if snapshot.troubles.is_empty() => sign("nginx", ("…", Color::Yellow)),
        Some(_) => sign("nginx", ("✗", Color::Red)),
        None => Vec::new(),
    };
    right.extend(match snapshot.engine_away {
        None => sign("Engine", ("✓", Color::Green)),
        Some(_) => sign("Engine", ("✗", Color::Red)),
    });
    // The time there, which in a simulation is another one.
    let silent = model.heard.map_or(Duration::ZERO, |heard| now.since(heard));
    if silent < SILENCE {
        right.push(Span::raw(snapshot.at.clock_in(&model.zone)));
    } else {
        let span = units::Span::seconds(silent.as_secs());
        let text = format!("silent for {span}");
        right.push(Span::styled(text, paint.level(EventLevel::Error)));
    }
    let second = snapshot
        .host
        .as_ref()
        .map_or_else(Line::default, |host| machine(host, &paint));
    vec![between(left, right, width), second]
}

/// One part at the left end, the other at the right.
fn between(left: Vec<Span<'static>>, right: Vec<Span<'static>>, width: u16) -> Line<'static> {
    let length = |spans: &[Span<'_>]| spans.iter().map(Span::width).sum::<usize>();
    // What is at the right end is never pushed out.
    let mut room = usize::from(width).saturating_sub(length(&right) + 1);
    let mut left: Vec<_> = left
        .into_iter()
        .map(|span| {
            let text = cut(&span.content, room);
            room -= Span::raw(&text).width().min(room);
            Span::styled(text, span.style)
        })
        .collect();
    let gap = usize::from(width).saturating_sub(length(&left) + length(&right));
    left.push(Span::raw(" ".repeat(gap.max(1))));
    left.extend(right);
    Line::from(left)
}

fn machine(host: &HostView, paint: &Paint) -> Line<'static> {
    let mut spans = vec![Span::raw("host  ")];
    if let Some(busy) = host.busy {
        let reserve = host.reserve_cpu.unwrap_or(0.0);
        spans.push(Span::raw("cpu "));
        spans.extend(gauge(busy / 100.0, reserve / 100.0, paint));
        spans.push(Span::raw(format!(" {busy:.0}%   ")));
    }
    let all = host.memory.0 as f64;
    let used = host.memory.0.saturating_sub(host.available.0);
    let reserve = host
        .reserve_memory
        .map_or(0.0, |reserve| reserve.0 as f64 / all);
    spans.push(Span::raw("memory "));
    spans.extend(gauge(used as f64 / all, reserve, paint));
    spans.push(Span::raw(format!(
        " {} of {}",
        Size(units::Bytes(used)),
        Size(host.memory)
    )));
    if let Some(reserve) = host.reserve_memory {
        let text = format!(", {} kept", Size(reserve));
        spans.push(Span::styled(text, Paint::dim()));
    }
    Line::from(spans)
}

/// Ten characters: what is used, what is free, and what of that is kept.
fn gauge(used: f64, reserve: f64, paint: &Paint) -> Vec<Span<'static>> {
    const WIDTH: usize = 10;
    let part = |share: f64| (share * WIDTH as f64).round().clamp(0.0, WIDTH as f64) as usize;
    let full = part(used);
    let kept = part(reserve).min(WIDTH - full);
    let colour = match used + reserve {
        over if over >= 1.0 => Color::Red,
        near if near >= 0.9 => Color::Yellow,
        _ => Color::Green,
    };
    vec![
        Span::styled("█".repeat(full), paint.of(colour)),
        Span::styled("░".repeat(WIDTH - full - kept), Paint::dim()),
        Span::styled("▒".repeat(kept), Paint::dim()),
    ]
}

fn foot(model: &Model, now: Timestamp, width: u16) -> Line<'static> {
    let paint = Paint(model.colour);
    if model.stopping {
        let text = "stopping: finishing the steps in progress; ctrl-c again stops at once";
        return Line::styled(text, paint.of(Color::Yellow));
    }
    if model.confirming {
        let text = "stop watch? nothing is scaled or replaced until it runs again   y / n";
        return Line::styled(text, paint.of(Color::Yellow).add_modifier(Modifier::BOLD));
    }
    if let Some(message) = model.message(now) {
        return Line::styled(message.to_owned(), paint.of(Color::Cyan));
    }
    let mut spans = Vec::new();
    let keys: &[(&str, &str)] = match model.view {
        ScreenView::Overview => &[
            ("↑↓", "choose"),
            ("+/-", "replicas"),
            ("p", "pause"),
            ("enter", "details"),
            ("?", "help"),
            ("q", "quit"),
        ],
        ScreenView::Details => &[
            ("enter", "back"),
            ("+/-", "replicas"),
            ("p", "pause"),
            ("?", "help"),
            ("q", "quit"),
        ],
        ScreenView::Help => &[("esc", "back"), ("q", "quit")],
    };
    for (key, what) in keys {
        spans.push(Span::styled(*key, Paint::bold()));
        spans.push(Span::styled(format!(" {what}  "), Paint::dim()));
    }
    let troubles = model.snapshot.as_ref().map_or(0, |s| s.troubles.len());
    let right = match troubles {
        0 => Vec::new(),
        1 => vec![Span::styled("1 trouble", paint.level(EventLevel::Error))],
        more => vec![Span::styled(
            format!("{more} troubles"),
            paint.level(EventLevel::Error),
        )],
    };
    between(spans, right, width)
}

fn help(frame: &mut Frame<'_>, area: Rect) {
    let mut lines = vec![Line::default()];
    for (keys, what) in KEYS {
        lines.push(Line::from(vec![
            Span::raw("  "),
            Span::styled(format!("{keys:<15}"), Paint::bold()),
            Span::raw(*what),
        ]));
    }
    lines.push(Line::default());
    for (sign, what) in [
        ("●", "replica gets requests"),
        ("◐", "replica is starting"),
        ("◌", "replica is draining"),
        ("✗", "replica is down"),
        ("·", "replica is desired but not created yet"),
    ] {
        lines.push(Line::raw(format!("  {sign:<15}{what}")));
    }
    frame.render_widget(Paragraph::new(lines).block(titled("help")), area);
}

fn events_pane(model: &Model, frame: &mut Frame<'_>, area: Rect) {
    let block = titled("events");
    let inner = block.inner(area);
    let paint = Paint(model.colour);
    let several = model
        .snapshot
        .as_ref()
        .is_some_and(|s| s.services.len() > 1);
    let mut lines = Vec::new();
    if let Some(snapshot) = &model.snapshot {
        for trouble in snapshot.troubles.iter().rev() {
            let line = format!("! {}", plain(trouble));
            lines.extend(
                wrapped(&line, inner.width, paint.level(EventLevel::Error))
                    .into_iter()
                    .rev(),
            );
        }
    }
    // From the newest upwards, as many as there is room for.
    let enough = usize::from(inner.height) + usize::from(model.scrolled.get());
    for event in model.events.iter().rev() {
        if lines.len() >= enough {
            break;
        }
        lines.extend(
            event_lines(event, model, several, inner.width)
                .into_iter()
                .rev(),
        );
    }
    let most = lines.len().saturating_sub(usize::from(inner.height));
    let skipped = usize::from(model.scrolled.get()).min(most);
    model
        .scrolled
        .set(u16::try_from(skipped).unwrap_or(u16::MAX));
    let mut shown: Vec<_> = lines
        .into_iter()
        .skip(skipped)
        .take(usize::from(inner.height))
        .collect();
    shown.reverse();
    frame.render_widget(Paragraph::new(shown).block(block), area);
}
