//! What is known, what is chosen, and what keys do.

use std::{
    cell::Cell,
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use jiff::tz::TimeZone;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::{
    control::{ControlRequest, Snapshot},
    decide::Pause,
    reconcile::{EventKind, EventLevel, ScalingEvent, ServiceView},
    telemetry::plain,
    units::{Span, Timestamp},
};

/// Events that are kept.
const EVENTS: usize = 500;
/// Values of a metric that are kept.
const VALUES: usize = 300;
/// A count that is asked for by a key holds for this long.
const HOLD: Duration = Duration::from_secs(600);
/// What became of a key is shown for this long.
const SHOWN: Duration = Duration::from_secs(6);

/// What is on the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ScreenView {
    /// All services and the last events.
    #[default]
    Overview,
    /// One service.
    Details,
    /// What keys do.
    Help,
}

/// What a key asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum KeyAction {
    /// Of the running `watch`.
    Ask(ControlRequest),
    /// The end of it.
    Quit,
}

/// A line of the events.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct EventLine {
    pub(super) at: Timestamp,
    pub(super) service: Option<String>,
    pub(super) level: EventLevel,
    pub(super) text: String,
    /// Whether it is what somebody tells.
    pub(super) is_told: bool,
}

/// What is known and chosen.
#[derive(Debug)]
pub struct Model {
    pub(super) zone: TimeZone,
    pub(super) colour: bool,
    pub(super) snapshot: Option<Snapshot>,
    /// When the snapshot came, by the reader's clock.
    pub(super) heard: Option<Timestamp>,
    /// By service and metric, the oldest first.
    pub(super) values: BTreeMap<(String, String), Vec<Option<f64>>>,
    /// The decision that each value was of, so that none is taken twice.
    seen: BTreeMap<String, Timestamp>,
    pub(super) events: VecDeque<EventLine>,
    pub(super) selected: usize,
    pub(super) view: ScreenView,
    before_help: ScreenView,
    /// Lines that the details, or the events, are moved by.
    pub(super) scrolled: Cell<u16>,
    /// What became of the last key, and when.
    message: Option<(Timestamp, String)>,
    /// The count that was asked for last, until a snapshot shows it.
    asked: BTreeMap<String, u32>,
    pub(super) confirming: bool,
    pub(super) stopping: bool,
}

impl Model {
    /// Nothing is known yet.
    pub fn new(zone: TimeZone, colour: bool) -> Self {
        Self {
            zone,
            colour,
            snapshot: None,
            heard: None,
            values: BTreeMap::new(),
            seen: BTreeMap::new(),
            events: VecDeque::new(),
            selected: 0,
            view: ScreenView::Overview,
            before_help: ScreenView::Overview,
            scrolled: Cell::new(0),
            message: None,
            asked: BTreeMap::new(),
            confirming: false,
            stopping: false,
        }
    }

    /// How things are, heard at this moment.
    pub fn show(&mut self, snapshot: Snapshot, now: Timestamp) {
        self.heard = Some(now);
        for service in &snapshot.services {
            self.asked.remove(&service.service);
            let Some(decision) = &service.decision else {
                continue;
            };
            let before = self.seen.insert(service.service.clone(), decision.at);
            if before == Some(decision.at) {
                continue;
            }
            for metric in &service.metrics {
                let key = (service.service.clone(), metric.metric.clone());
                let values = self.values.entry(key).or_default();
                values.push(metric.value);
                if values.len() > VALUES {
                    values.remove(0);
                }
            }
        }
        self.selected = self.selected.min(snapshot.services.len().saturating_sub(1));
        self.snapshot = Some(snapshot);
    }

    /// Something happened.
    pub fn note(&mut self, note: &ScalingEvent) {
        let level = note.what.level();
        if level == EventLevel::Debug {
            return;
        }
        // Which servers nginx has is to be seen.
        if matches!(
            note.what,
            EventKind::Routed { .. } | EventKind::Creating { .. }
        ) {
            return;
        }
        self.happened(
            note.at,
            Some(note.service.clone()),
            level,
            &note.what.to_string(),
        );
    }

    /// The program says something besides.
    pub fn say(&mut self, at: Timestamp, level: EventLevel, text: &str) {
        self.happened(at, None, level, text);
    }

    /// Somebody tells what goes on.
    pub fn narrate(&mut self, at: Timestamp, text: &str) {
        self.happened(at, None, EventLevel::Info, text);
        if let Some(event) = self.events.back_mut() {
            event.is_told = true;
        }
    }

    fn happened(&mut self, at: Timestamp, service: Option<String>, level: EventLevel, text: &str) {
        let text = plain(text.trim_end()).replace('\t', "  ");
        self.events.push_back(EventLine {
            at,
            service,
            level,
            text,
            is_told: false,
        });
        if self.events.len() > EVENTS {
            self.events.pop_front();
        }
    }

    /// What became of what a key asked for.
    pub fn answered(&mut self, at: Timestamp, ok: bool, message: &str) {
        // What is done is to be seen.
        if !ok {
            let text = format!("not done: {message}");
            self.message = Some((at, plain(&text).into_owned()));
        }
    }

    /// It is being ended.
    pub fn stops(&mut self) {
        self.stopping = true;
        self.confirming = false;
    }

    /// Whether nothing is known of the replicas.
    pub(super) fn is_away(&self) -> bool {
        let snapshot = self.snapshot.as_ref();
        snapshot.is_some_and(|snapshot| snapshot.engine_away.is_some())
    }

    pub(super) fn message(&self, now: Timestamp) -> Option<&str> {
        let (at, text) = self.message.as_ref()?;
        (now.since(*at) < SHOWN).then_some(text.as_str())
    }

    pub(super) fn service(&self) -> Option<&ServiceView> {
        self.snapshot.as_ref()?.services.get(self.selected)
    }

    /// A key was pressed.
    pub fn press(&mut self, key: KeyEvent, now: Timestamp) -> Option<KeyAction> {
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Some(KeyAction::Quit);
        }
        if self.confirming {
            self.confirming = false;
            return matches!(key.code, KeyCode::Char('y' | 'Y') | KeyCode::Enter)
                .then_some(KeyAction::Quit);
        }
        match key.code {
            KeyCode::Char('q') => self.confirming = true,
            KeyCode::Char('?' | 'h') => {
                if self.view == ScreenView::Help {
                    self.go(self.before_help);
                } else {
                    self.before_help = self.view;
                    self.go(ScreenView::Help);
                }
            }
            KeyCode::Esc | KeyCode::Backspace if self.view == ScreenView::Help => {
                self.go(self.before_help);
            }
            KeyCode::Esc | KeyCode::Backspace => self.go(ScreenView::Overview),
            KeyCode::Enter if self.view == ScreenView::Overview => self.go(ScreenView::Details),
            KeyCode::Enter => self.go(ScreenView::Overview),
            KeyCode::Up | KeyCode::Char('k') => self.choose(-1),
            KeyCode::Down | KeyCode::Char('j') => self.choose(1),
            KeyCode::Tab => self.choose_round(),
            KeyCode::PageUp | KeyCode::PageDown => {
                // Events are read upwards from the newest, details downwards.
                let on = (key.code == KeyCode::PageUp) == (self.view == ScreenView::Overview);
                let scrolled = self.scrolled.get();
                self.scrolled.set(if on {
                    scrolled.saturating_add(5)
                } else {
                    scrolled.saturating_sub(5)
                });
            }
            KeyCode::Char('+' | '=') => return self.change(1, now),
            KeyCode::Char('-') => return self.change(-1, now),
            KeyCode::Char('p') => return self.pause(),
            // For the test that the terminal is given back.
            #[cfg(debug_assertions)]
            KeyCode::F(12) => panic!("F12 was pressed"),
            _ => {}
        }
        None
    }

    fn go(&mut self, view: ScreenView) {
        self.view = view;
        self.scrolled.set(0);
    }

    fn choose(&mut self, by: isize) {
        let services = self.snapshot.as_ref().map_or(0, |s| s.services.len());
        self.selected = self
            .selected
            .saturating_add_signed(by)
            .min(services.saturating_sub(1));
        self.scrolled.set(0);
    }

    fn choose_round(&mut self) {
        let services = self.snapshot.as_ref().map_or(0, |s| s.services.len());
        self.selected = (self.selected + 1) % services.max(1);
        self.scrolled.set(0);
    }

    /// One replica more, or less, held for a while.
    fn change(&mut self, by: i64, now: Timestamp) -> Option<KeyAction> {
        let service = self.service()?;
        let name = service.service.clone();
        let max = service.max;
        let asked = self.asked.get(&name).copied();
        let from = asked.or(service.desired)?;
        let to = u32::try_from(i64::from(from) + by).ok()?;
        if to == 0 {
            self.answered(
                now,
                false,
                "the last replica stays; `docker compose stop` stops a service",
            );
            return None;
        }
        self.asked.insert(name.clone(), to);
        let beyond = max
            .filter(|max| to > *max)
            .map_or_else(String::new, |max| format!(", above its maximum of {max}"));
        self.message = Some((now, format!("{name}: asking for {to}{beyond}")));
        Some(KeyAction::Ask(ControlRequest::Scale {
            services: [(name, to)].into_iter().collect(),
            hold: Span(HOLD),
            wait: None,
        }))
    }

    fn pause(&mut self) -> Option<KeyAction> {
        let service = self.service()?;
        let services = vec![service.service.clone()];
        Some(KeyAction::Ask(if service.paused.is_some() {
            ControlRequest::Resume { services }
        } else {
            ControlRequest::Pause {
                services,
                directions: Pause::Both,
                span: None,
            }
        }))
    }
}
