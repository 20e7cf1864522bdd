//! The terminal, in a thread of its own.

use std::{
    fs::File,
    io::{self, IsTerminal, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use jiff::tz::TimeZone;
use ratatui::{
    DefaultTerminal, Terminal,
    backend::CrosstermBackend,
    crossterm::{
        cursor,
        event::{KeyCode, KeyEvent, KeyModifiers},
        execute,
        terminal::{self, Clear, ClearType},
    },
};
use rustix::termios::{OptionalActions, QueueSelector, Termios, tcflush, tcgetattr, tcsetattr};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{KeyAction, Model, draw, keys::KeyInput};
use crate::{
    control::{Call, ControlRequest, Reply},
    reconcile::{EventLevel, ScalingEvent},
    telemetry::{LogRedirect, log},
    units::Timestamp,
};

/// What waits to be drawn; more than that is not shown, because the terminal does not keep up.
const QUEUE: usize = 1024;
/// A key is answered within this time, and news are seen.
const PACE: Duration = Duration::from_millis(50);
/// How things are is asked for this often.
const LOOK: Duration = Duration::from_millis(500);
/// The clock on the screen goes on.
const REDRAW: Duration = Duration::from_secs(1);

/// Draws all of it anew.
const REDRAW_KEY: KeyEvent = KeyEvent::new(KeyCode::Char('l'), KeyModifiers::CONTROL);

/// What the screen is told.
#[derive(Debug)]
pub enum ScreenMessage {
    /// Something happened.
    Note(Box<ScalingEvent>),
    /// The program says something besides.
    Log(Timestamp, EventLevel, String),
    /// Somebody tells what goes on.
    Said(Timestamp, String),
}

/// What the screen may do: ask the loop, and end it.
#[derive(Debug)]
struct ScreenControls {
    calls: mpsc::Sender<Call>,
    stop: CancellationToken,
    abort: CancellationToken,
}

/// The screen; it is cleared when it goes.
#[derive(Debug)]
pub struct Screen {
    news: SyncSender<ScreenMessage>,
    end: Arc<AtomicBool>,
    gone: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
    /// The terminal, to be written to without waiting, and how it was.
    control: File,
    before: Option<Termios>,
}

/// Tells when the thread has ended, however that came.
struct ThreadEnd(Arc<AtomicBool>);

impl Drop for ThreadEnd {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        LogRedirect::end();
    }
}

/// Whether there is a terminal to draw on, and somebody who can press keys.
pub fn is_possible() -> bool {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
    io::stdout().is_terminal() && io::stdin().is_terminal() && !dumb && !log::is_json()
}

impl Screen {
    /// Takes the terminal over. A panic gives it back before it is told of.
    pub fn begin(
        calls: mpsc::Sender<Call>,
        stop: CancellationToken,
        abort: CancellationToken,
    ) -> io::Result<Self> {
        let keys = KeyInput::open()?;
        let before = tcgetattr(keys.terminal())?;
        let control = keys.terminal().try_clone()?;
        ratatui::try_init()?;
        show_the_cursor_after_a_panic();
        // Whoever was ended by force has left something there.
        let terminal = anew()?;
        let (news, told) = sync_channel(QUEUE);
        let end = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&end);
        let gone = Arc::new(AtomicBool::new(false));
        let hands = ScreenControls { calls, stop, abort };
        let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let model = Model::new(TimeZone::system(), colour);
        let thread = thread::Builder::new().name("screen".into()).spawn({
            let gone = ThreadEnd(Arc::clone(&gone));
            move || {
                let _gone = gone;
                go_on(terminal, keys, model, &told, &hands, &ended)
            }
        })?;
        Ok(Self {
            news,
            end,
            gone,
            thread: Some(thread),
            control,
            before: Some(before),
        })
    }

    /// Shows what is logged, while the value lives.
    pub fn divert(&self) -> LogRedirect {
        let news = self.news();
        LogRedirect::to(move |level, text| {
            let level = match level {
                tracing::Level::ERROR => EventLevel::Error,
                tracing::Level::WARN => EventLevel::Warn,
                tracing::Level::INFO => EventLevel::Info,
                _ => EventLevel::Debug,
            };
            news(ScreenMessage::Log(now(), level, text.to_owned()));
        })
    }

    /// Where it is told what happens; never blocks. Says whether there still is a screen: a terminal may
    /// be closed under it.
    pub fn news(&self) -> impl Fn(ScreenMessage) -> bool + Send + Sync + Clone + 'static {
        let (news, gone) = (self.news.clone(), Arc::clone(&self.gone));
        move |told| {
            let _ = news.try_send(told);
            !gone.load(Ordering::Relaxed)
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if self.has_ended() {
            ratatui::restore();
            return;
        }
        // Nobody reads the terminal, and the thread waits for that: what is on its way there is let go.
        let _ = tcflush(&self.control, QueueSelector::OFlush);
        if self.has_ended() {
            ratatui::restore();
            return;
        }
        // Standard output is the thread's, who will not give it back.
        if let Some(before) = &self.before {
            let _ = tcsetattr(&self.control, OptionalActions::Now, before);
        }
        let _ = self.control.write_all(b"\x1b[?1049l\x1b[?25h");
    }
}

impl Screen {
    /// Whether the thread has ended, or does so within a short time.
    fn has_ended(&self) -> bool {
        let Some(thread) = &self.thread else {
            return true;
        };
        let begun = Instant::now();
        while !thread.is_finished() && begun.elapsed() < REDRAW / 2 {
            thread::sleep(PACE / 5);
        }
        thread.is_finished()
    }
}

/// What gives the terminal back after a panic leaves the cursor hidden.
fn show_the_cursor_after_a_panic() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let _ = execute!(io::stdout(), cursor::Show);
        before(panic);
    }));
}

/// An empty screen, all of which is drawn next. Ratatui's own way to clear one asks the terminal where the
/// cursor is, and would wait for an answer.
fn anew() -> io::Result<DefaultTerminal> {
    execute!(io::stdout(), Clear(ClearType::All))?;
    Terminal::new(CrosstermBackend::new(io::stdout()))
}

fn go_on(
    mut terminal: DefaultTerminal,
    mut keys: KeyInput,
    mut model: Model,
    told: &Receiver<ScreenMessage>,
    hands: &ScreenControls,
    end: &AtomicBool,
) -> io::Result<()> {
    let mut answers: Vec<mpsc::Receiver<Reply>> = Vec::new();
    let mut status: Option<mpsc::Receiver<Reply>> = None;
    let mut looked: Option<Instant> = None;
    let mut drawn: Option<Instant> = None;
    let mut shape = terminal::size()?;
    let passed = |since: Option<Instant>, long| since.is_none_or(|since| since.elapsed() >= long);
    while !end.load(Ordering::Relaxed) {
        let mut news = false;
        loop {
            match told.try_recv() {
                Ok(ScreenMessage::Note(note)) => model.note(&note),
                Ok(ScreenMessage::Log(at, level, text)) => model.say(at, level, &text),
                Ok(ScreenMessage::Said(at, text)) => model.narrate(at, &text),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
            news = true;
        }
        if let Some(asked) = &mut status {
            match asked.try_recv() {
                Ok(Reply::Status(snapshot)) => {
                    model.show(*snapshot, now());
                    news = true;
                    status = None;
                }
                Err(mpsc::error::TryRecvError::Empty) => {}
                Ok(_) | Err(mpsc::error::TryRecvError::Disconnected) => status = None,
            }
        } else if passed(looked, LOOK) {
            looked = Some(Instant::now());
            status = ask(hands, ControlRequest::Status);
        }
        answers.retain_mut(|answer| match answer.try_recv() {
            Ok(Reply::Done { ok, message }) => {
                model.answered(now(), ok, &message);
                news = true;
                // How things are now is wanted at once.
                looked = None;
                false
            }
            Ok(_) | Err(mpsc::error::TryRecvError::Empty) => true,
            Err(mpsc::error::TryRecvError::Disconnected) => false,
        });
        if hands.stop.is_cancelled() && !model.stopping {
            model.stops();
            news = true;
        }
        let waited = Instant::now();
        for key in keys.within(PACE)? {
            news = true;
            if key == REDRAW_KEY {
                terminal = anew()?;
                continue;
            }
            match model.press(key, now()) {
                None => {}
                Some(KeyAction::Ask(request)) => match ask(hands, request) {
                    Some(answer) => answers.push(answer),
                    None => model.answered(now(), false, "the loop is busy; try again"),
                },
                Some(KeyAction::Quit) if hands.stop.is_cancelled() => hands.abort.cancel(),
                Some(KeyAction::Quit) => hands.stop.cancel(),
            }
        }
        // It was stopped meanwhile (SIGSTOP, SIGTSTP), and others have used the terminal.
        if waited.elapsed() > REDRAW {
            terminal::enable_raw_mode()?;
            terminal = anew()?;
            news = true;
        }
        let size = terminal::size()?;
        news |= std::mem::replace(&mut shape, size) != size;
        if news || passed(drawn, REDRAW) {
            drawn = Some(Instant::now());
            let moment = now();
            terminal.draw(|frame| draw(&model, moment, frame))?;
        }
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the clock on the screen is the reader's; nothing is decided by it"
)]
fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now())
}

/// Asks the loop, if it takes a question now.
fn ask(hands: &ScreenControls, request: ControlRequest) -> Option<mpsc::Receiver<Reply>> {
    let (replies, answers) = mpsc::channel(8);
    hands.calls.try_send(Call { request, replies }).ok()?;
    Some(answers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_that_takes_nothing_holds_up_nobody() {
        let (news, _kept) = sync_channel(2);
        let screen = Screen {
            news,
            end: Arc::default(),
            gone: Arc::default(),
            thread: None,
            control: File::open("/dev/null").unwrap(),
            before: None,
        };
        let tell = screen.news();
        for number in 0..1000 {
            let text = format!("line {number}");
            assert!(tell(ScreenMessage::Log(
                Timestamp::from_unix(0),
                EventLevel::Info,
                text
            )));
        }
        screen.gone.store(true, Ordering::Relaxed);
        let text = "nobody sees it".to_owned();
        assert!(!tell(ScreenMessage::Log(
            Timestamp::from_unix(0),
            EventLevel::Info,
            text
        )));
    }
}
