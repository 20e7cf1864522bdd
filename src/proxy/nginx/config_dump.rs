//! The output of `nginx -T` as it comes, in bounded memory. Pure.
//!
//! A list of addresses for `geo`, or a large `map`, is many megabytes of lines that say nothing about where
//! requests go. Past the first part of a file, or of all files, such lines and comments are left out; a marker
//! says how many, so that places keep their line numbers, and another text of them is another configuration.

use std::{
    fmt::Write,
    hash::{DefaultHasher, Hash, Hasher},
};

use super::ControlError;
use crate::proxy::inspect::{LEFT_OUT, heading};

/// So much of a file is kept whole, in bytes: our own files, but for those of thousands of servers, and those
/// have no line that is left out.
const OF_A_FILE: usize = 64 * 1024;
/// While so much is kept in all, no data is left out of such a part.
const OF_ALL: usize = 1024 * 1024;
/// More than this is not read: it would be directives that matter, or a single line.
const MOST: usize = 16 * 1024 * 1024;

/// What has come so far, as far as it is kept.
#[derive(Debug)]
pub(super) struct Dump {
    kept: String,
    /// The line that has no end yet.
    line: Vec<u8>,
    /// What of the file has come.
    of_file: usize,
    /// Whether the next line begins a directive.
    begins: bool,
    left_out: u64,
    digest: DefaultHasher,
    overflows: bool,
}

impl Default for Dump {
    fn default() -> Self {
        Self {
            kept: String::new(),
            line: Vec::new(),
            of_file: 0,
            begins: true,
            left_out: 0,
            digest: DefaultHasher::new(),
            overflows: false,
        }
    }
}

impl Dump {
    /// Takes the next piece, which may end anywhere.
    pub(super) fn push(&mut self, mut piece: &[u8]) {
        while !self.overflows {
            let Some(end) = piece.iter().position(|byte| *byte == b'\n') else {
                self.line.extend_from_slice(piece);
                self.overflows = self.line.len() > MOST;
                return;
            };
            let (head, rest) = (&piece[..end], &piece[end + 1..]);
            if self.line.is_empty() {
                self.take(&String::from_utf8_lossy(head));
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(head);
                self.take(&String::from_utf8_lossy(&line));
                line.clear();
                self.line = line;
            }
            piece = rest;
        }
    }

    /// The text, once all has come.
    pub(super) fn text(mut self) -> Result<String, ControlError> {
        if !self.line.is_empty() && !self.overflows {
            let line = std::mem::take(&mut self.line);
            self.take(&String::from_utf8_lossy(&line));
        }
        if self.overflows {
            return Err(ControlError::Failed {
                why: format!(
                    "its configuration has more than {} MiB besides comments and the data of `geo` and `map`, \
                     which is more than compose-scale reads",
                    MOST >> 20
                ),
            });
        }
        self.mark();
        Ok(self.kept)
    }

    fn take(&mut self, line: &str) {
        let is_heading = heading(line).is_some();
        if is_heading {
            self.of_file = 0;
            self.begins = true;
        }
        self.of_file += line.len() + 1;
        let text = line.trim();
        if !is_heading && self.is_left_out(text) {
            self.left_out += 1;
            line.hash(&mut self.digest);
            return;
        }
        if !text.is_empty() && !text.starts_with('#') {
            self.begins = text.ends_with([';', '{', '}']);
        }
        self.mark();
        self.kept.push_str(line);
        self.kept.push('\n');
        self.overflows |= self.kept.len() > MOST;
    }

    fn is_left_out(&self, text: &str) -> bool {
        let is_quiet = |text: &str| !text.contains(['"', '\'', '{', '}']);
        if text.is_empty() {
            return self.left_out > 0;
        }
        let late = self.of_file > OF_A_FILE;
        if text.starts_with('#') {
            return late && is_quiet(text);
        }
        (late || self.kept.len() > OF_ALL) && self.begins && is_data(text)
    }

    /// Writes down how many lines were left out here, and which.
    fn mark(&mut self) {
        if self.left_out == 0 {
            return;
        }
        let lines = std::mem::take(&mut self.left_out);
        let digest = std::mem::take(&mut self.digest).finish();
        // Writing to a string does not fail.
        let _ = writeln!(self.kept, "{LEFT_OUT}{lines} {digest:x}");
    }
}

/// Whether a line is one entry of `geo`, `map`, `types` or the like, and no directive: those begin with a letter
/// and have nothing but letters, digits and `_` in their name.
fn is_data(text: &str) -> bool {
    let Some(entry) = text.strip_suffix(';') else {
        return false;
    };
    let word = entry.split_whitespace().next().unwrap_or_default();
    let is_name = word.starts_with(|c: char| c.is_ascii_alphabetic())
        && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let even = |quote: char| entry.matches(quote).count() % 2 == 0;
    !is_name && !entry.contains(['{', '}', '#', ';']) && even('"') && even('\'')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::{
        inspect::{Configuration, fingerprint},
        nginx::loaded_config::{LoadedConfig, Sight},
    };

    const OURS: &str = "# generated, do not edit: made by compose-scale for project shop\n# two\nupstream web { }\n";

    /// A configuration with so many bytes of data before the include, in pieces that end anywhere.
    fn read(
        bytes: usize,
        entry: impl Fn(usize) -> String,
    ) -> (Result<String, ControlError>, usize) {
        let mut dump = Dump::default();
        let mut most = 0;
        let mut lines = 0;
        let mut push = |text: &str| {
            for piece in text.as_bytes().chunks(4099) {
                dump.push(piece);
            }
            most = most.max(dump.kept.capacity() + dump.line.capacity());
        };
        push("# configuration file /etc/nginx/nginx.conf:\nhttp {\ngeo $x {\n");
        let mut sent = 0;
        while sent < bytes {
            let mut piece = String::new();
            while piece.len() < 10_000 {
                piece += &entry(lines);
                lines += 1;
            }
            sent += piece.len();
            push(&piece);
        }
        push("}\ninclude up/*.conf;\nserver { location / { proxy_pass http://web; } }\n}\n\n");
        push("# configuration file /etc/nginx/up/web.conf:\n");
        push(OURS);
        (dump.text(), most)
    }

    fn address(number: usize) -> String {
        let [a, b, c, d] = (number as u32).to_be_bytes();
        format!("    {a}.{b}.{c}.{d}/32 zone{};\n", number % 7)
    }

    #[test]
    fn of_64_mib_of_addresses_little_is_kept_and_all_that_counts() {
        let (text, most) = read(64 << 20, address);
        let text = text.unwrap();
        assert!(most < 1 << 20, "{most} bytes");
        assert_eq!(LoadedConfig::parse(&text).of("web.conf", OURS), Sight::Same);
        let findings = Configuration::parse(&text).look_for("web", "/etc/nginx/up");
        let lines = (0..).scan(0, |sent, number| {
            *sent += address(number).len();
            Some(*sent)
        });
        // Each piece is as large as its last line makes it.
        let least = 3 + lines.take_while(|sent| *sent < 64 << 20).count();
        let [included] = findings.included.as_slice() else {
            panic!("{findings:?}");
        };
        assert!(
            (least..least + 1000).contains(&included.line),
            "{included}, not {least}"
        );
        assert_eq!(findings.passes[0].place.line, included.line + 1);
    }

    #[test]
    fn a_change_within_what_is_left_out_is_another_configuration() {
        let of = |entry: &dyn Fn(usize) -> String| {
            fingerprint(&read(1 << 20, entry).0.unwrap(), "/etc/nginx/up", "x")
        };
        let other = |number| match number {
            20_000 => address(number).replace("zone", "area"),
            _ => address(number),
        };
        assert_eq!(of(&address), of(&address));
        assert_ne!(of(&address), of(&other));
    }

    #[test]
    fn directives_are_never_left_out_and_too_many_of_them_are_told() {
        let directive = |number: usize| format!("    set $v{number} \"x y\";\n");
        let (text, _) = read(2 << 20, directive);
        assert!(text.unwrap().contains("set $v70000 "));
        let (text, most) = read(18 << 20, directive);
        let why = text.unwrap_err().to_string();
        assert!(
            why.starts_with("its configuration has more than 16 MiB"),
            "{why}"
        );
        assert!(most < 40 << 20, "{most} bytes");
        let (text, most) = read(18 << 20, |_| "1.1.1.1 a; ".into());
        assert!(text.is_err());
        assert!(most < 40 << 20, "{most} bytes");
    }

    #[test]
    fn a_line_that_goes_on_and_one_with_a_block_is_no_data() {
        let mut dump = Dump::default();
        let text =
            "log_format main '$a'\n    '$b';\n    ~^/x{2} y;\n# it's\n1.2.3.4 a;\n\n'q' b;\n;\n";
        let padding = "# none\n".repeat(OF_A_FILE / 7 + 1);
        dump.push(b"# configuration file /a:\n");
        dump.push(padding.as_bytes());
        dump.push(text.as_bytes());
        let text = dump.text().unwrap();
        let end = text.rsplit_once("# none\n").unwrap().1;
        let kept: Vec<&str> = end
            .lines()
            .filter(|line| !line.starts_with(LEFT_OUT))
            .collect();
        assert_eq!(
            kept,
            [
                "log_format main '$a'",
                "    '$b';",
                "    ~^/x{2} y;",
                "# it's"
            ]
        );
    }
}
