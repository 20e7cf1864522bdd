//! The terminal's input, without ever waiting for it: a key that is half there, a terminal that is gone.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    time::Duration,
};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::OFlags,
};

/// The terminal of this process, opened for itself: what is set on it concerns nobody else.
#[derive(Debug)]
pub(super) struct KeyInput {
    terminal: File,
    /// What has come and is no key yet.
    rest: Vec<u8>,
}

impl KeyInput {
    pub(super) fn open() -> io::Result<Self> {
        let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        let terminal = File::options()
            .read(true)
            .write(true)
            .custom_flags(flags.bits().cast_signed())
            .open("/dev/tty")?;
        Ok(Self {
            terminal,
            rest: Vec::new(),
        })
    }

    pub(super) fn terminal(&self) -> &File {
        &self.terminal
    }

    /// The keys that come within this time; an error where there is no terminal any more.
    pub(super) fn within(&mut self, time: Duration) -> io::Result<Vec<KeyEvent>> {
        let mut fds = [PollFd::new(&self.terminal, PollFlags::IN)];
        let time = Timespec::try_from(time).map_err(io::Error::other)?;
        match poll(&mut fds, Some(&time)) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        }
        let happened = fds[0].revents();
        if happened.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if happened.contains(PollFlags::IN) {
            let mut bytes = [0; 1024];
            match self.terminal.read(&mut bytes) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.rest.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
            Ok(take(&mut self.rest, false))
        } else {
            // Nothing follows: an escape is the key of that name.
            Ok(take(&mut self.rest, true))
        }
    }
}

/// Takes the keys off the bytes; those that may be the beginning of one stay, unless nothing follows.
fn take(bytes: &mut Vec<u8>, is_all: bool) -> Vec<KeyEvent> {
    let mut keys = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match one(&bytes[at..]) {
            Some((key, length)) => {
                keys.extend(key.map(|code| KeyEvent::new(code.0, code.1)));
                at += length;
            }
            None if is_all => {
                let escape = KeyEvent::new(KeyCode::Esc, KeyModifiers::NONE);
                keys.extend((bytes[at] == 0x1b && bytes.len() - at == 1).then_some(escape));
                at = bytes.len();
            }
            None => break,
        }
    }
    bytes.drain(..at);
    keys
}

type Code = (KeyCode, KeyModifiers);

/// The first key and its length, without one for what is not known; `None` if more has to come.
fn one(bytes: &[u8]) -> Option<(Option<Code>, usize)> {
    let plain = |code| Some((code, KeyModifiers::NONE));
    let first = bytes[0];
    Some(match first {
        0x1b => match bytes.get(1)? {
            b'[' => {
                let end = bytes[2..]
                    .iter()
                    .position(|byte| (0x40..=0x7e).contains(byte));
                let Some(end) = end else {
                    // No key of this length is known anywhere.
                    return (bytes.len() > 32).then_some((None, bytes.len()));
                };
                (sequence(&bytes[2..=end + 2]).and_then(plain), end + 3)
            }
            b'O' => (sequence(&[*bytes.get(2)?]).and_then(plain), 3),
            // Two presses, or the key with alt.
            0x1b => (plain(KeyCode::Esc), 1),
            _ => (None, 2),
        },
        b'\r' | b'\n' => (plain(KeyCode::Enter), 1),
        b'\t' => (plain(KeyCode::Tab), 1),
        0x7f | 0x08 => (plain(KeyCode::Backspace), 1),
        1..=26 => {
            let letter = char::from(first - 1 + b'a');
            (Some((KeyCode::Char(letter), KeyModifiers::CONTROL)), 1)
        }
        0x20..=0x7e => (plain(KeyCode::Char(char::from(first))), 1),
        // What no key here has.
        _ => (None, 1),
    })
}

fn sequence(rest: &[u8]) -> Option<KeyCode> {
    Some(match rest {
        b"A" => KeyCode::Up,
        b"B" => KeyCode::Down,
        b"5~" => KeyCode::PageUp,
        b"6~" => KeyCode::PageDown,
        b"24~" => KeyCode::F(12),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(bytes: &[u8], is_all: bool) -> (Vec<KeyCode>, usize) {
        let mut bytes = bytes.to_vec();
        let keys = take(&mut bytes, is_all);
        (keys.into_iter().map(|key| key.code).collect(), bytes.len())
    }

    #[test]
    fn keys_are_told_apart_and_what_is_unknown_is_none() {
        let typed = b"q+\r\x1b[A\x1bOB\x1b[6~\x1b[1;5C\xc3\xa9\t\x1b\x1b[5~";
        let expected = [
            KeyCode::Char('q'),
            KeyCode::Char('+'),
            KeyCode::Enter,
            KeyCode::Up,
            KeyCode::Down,
            KeyCode::PageDown,
            KeyCode::Tab,
            KeyCode::Esc,
            KeyCode::PageUp,
        ];
        assert_eq!(codes(typed, false), (expected.to_vec(), 0));
        let ctrl_c = take(&mut vec![3], false);
        assert_eq!(
            ctrl_c[0],
            KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)
        );
    }

    #[test]
    fn half_a_key_waits_for_its_rest_and_not_for_ever() {
        assert_eq!(codes(b"\x1b", false), (vec![], 1));
        assert_eq!(codes(b"\x1b", true), (vec![KeyCode::Esc], 0));
        assert_eq!(codes(b"\x1b[", false), (vec![], 2));
        assert_eq!(codes(b"\x1b[", true), (vec![], 0));
        assert_eq!(
            codes(&[b"\x1b[".as_slice(), &[b'1'; 40]].concat(), false),
            (vec![], 0)
        );
    }
}
