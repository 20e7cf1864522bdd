//! On which line each key and item of a text stands.

use std::{collections::BTreeMap, rc::Rc};

use libyaml_safer::{EventData, Parser, ScalarStyle};
use serde::de::{Deserialize as _, IgnoredAny};

/// The lines of a document, in its shape.
#[derive(Debug)]
pub(super) enum LineTree {
    Scalar {
        line: usize,
        /// What is written, before anything is made of it.
        text: String,
        /// Without quotes, and without a tag that says what it is.
        plain: bool,
        /// Written line by line, below a `|`.
        literal: bool,
    },
    List {
        line: usize,
        items: Vec<Rc<LineTree>>,
    },
    Map {
        line: usize,
        entries: Vec<MapEntry>,
    },
}

/// An entry of a map.
#[derive(Debug)]
pub(super) struct MapEntry {
    /// The key.
    pub(super) key: String,
    /// Its line.
    pub(super) line: usize,
    /// Its value.
    pub(super) place: Rc<LineTree>,
}

impl LineTree {
    /// Where it begins.
    pub(super) fn line(&self) -> usize {
        match self {
            Self::Scalar { line, .. } | Self::List { line, .. } | Self::Map { line, .. } => *line,
        }
    }
}

/// Values of a file, those that aliases repeat included. Far from what anybody writes.
const MOST: usize = 1_000_000;

/// Nesting that the other parser refuses; deeper is not looked into.
const DEEPEST: usize = 128;

struct Scan<'t> {
    events: Parser<&'t [u8]>,
    depth: usize,
    /// Values so far, aliases written out.
    total: usize,
    /// With the number of values in each.
    anchors: BTreeMap<String, (Rc<LineTree>, usize)>,
}

/// The text is not understood.
pub(super) enum Lost {
    /// What is wrong with it is for the other parser to say.
    Here,
    /// It is wrong to compose too, or would take too much time or memory.
    Refused { line: usize, message: String },
}

impl Lost {
    fn refused(line: usize, message: impl Into<String>) -> Self {
        let message = message.into();
        Self::Refused { line, message }
    }
}

/// What comes next, and its line.
type LinedEvent = (EventData, usize);

/// The lines of the documents of a text.
pub(super) fn documents(text: &str) -> Result<Vec<Rc<LineTree>>, Lost> {
    // This parser panics at some texts that are wrong. The other one, of the same grammar, does not.
    let mut others = serde_yaml::Deserializer::from_str(text);
    let is_right = others.all(|document| IgnoredAny::deserialize(document).is_ok());
    if !is_right || has_tag_before_comma(text) {
        return Err(Lost::Here);
    }
    Scan::documents(text)
}

/// Whether a tag ends at a comma, as in `[!reset, x]`: the one right text that the parser panics at.
fn has_tag_before_comma(text: &str) -> bool {
    let mut before = ' ';
    text.char_indices().any(|(at, c)| {
        let begins = c == '!' && before != '!' && !before.is_alphanumeric();
        before = c;
        // No tag is longer.
        let mut rest = text[at..].chars().take(if begins { 200 } else { 0 });
        rest.find(|c| c.is_whitespace() || ",[]{}".contains(*c)) == Some(',')
    })
}

impl<'t> Scan<'t> {
    fn documents(text: &'t str) -> Result<Vec<Rc<LineTree>>, Lost> {
        let mut events = Parser::new();
        events.set_input(text.as_bytes());
        let mut scan = Self {
            events,
            depth: 0,
            total: 0,
            anchors: BTreeMap::new(),
        };
        let mut documents = Vec::new();
        loop {
            match scan.next()? {
                (EventData::StreamEnd, _) => return Ok(documents),
                (
                    EventData::DocumentStart {
                        version_directive, ..
                    },
                    line,
                ) => {
                    if let Some(version) = version_directive
                        && (version.major, version.minor) != (1, 1)
                    {
                        let message =
                            "compose takes no other version than %YAML 1.1; take this line away";
                        return Err(Lost::refused(line, message));
                    }
                    scan.anchors.clear();
                    let event = scan.next()?;
                    documents.push(scan.place(event)?);
                }
                _ => {}
            }
        }
    }

    fn next(&mut self) -> Result<LinedEvent, Lost> {
        let event = self.events.parse().map_err(|_| Lost::Here)?;
        let line = usize::try_from(event.start_mark.line).unwrap_or_default();
        Ok((event.data, line + 1))
    }

    fn count(&mut self, values: usize, line: usize) -> Result<(), Lost> {
        self.total += values;
        if self.total > MOST {
            let message = format!("anchors and aliases make more than {MOST} values of this file");
            return Err(Lost::refused(line, message));
        }
        Ok(())
    }

    fn place(&mut self, event: LinedEvent) -> Result<Rc<LineTree>, Lost> {
        self.depth += 1;
        if self.depth > DEEPEST {
            let message = format!("nested more than {DEEPEST} levels deep");
            return Err(Lost::refused(event.1, message));
        }
        let place = self.place_here(event);
        self.depth -= 1;
        place
    }

    fn place_here(&mut self, (event, line): LinedEvent) -> Result<Rc<LineTree>, Lost> {
        let before = self.total;
        self.count(1, line)?;
        let (anchor, place) = match event {
            EventData::Alias { anchor } => {
                let (place, size) = self.anchors.get(&anchor).cloned().ok_or(Lost::Here)?;
                self.count(size, line)?;
                return Ok(place);
            }
            EventData::Scalar {
                anchor,
                tag,
                value,
                style,
                ..
            } => {
                let place = LineTree::Scalar {
                    line,
                    text: value,
                    plain: style == ScalarStyle::Plain && tag.is_none(),
                    literal: style == ScalarStyle::Literal,
                };
                (anchor, place)
            }
            EventData::SequenceStart { anchor, .. } => {
                let mut items = Vec::new();
                loop {
                    match self.next()? {
                        (EventData::SequenceEnd, _) => break,
                        item => items.push(self.place(item)?),
                    }
                }
                (anchor, LineTree::List { line, items })
            }
            EventData::MappingStart { anchor, .. } => {
                let mut entries = Vec::new();
                loop {
                    let (event, line) = self.next()?;
                    if event == EventData::MappingEnd {
                        break;
                    }
                    let key = self.place((event, line))?;
                    let LineTree::Scalar { text, .. } = key.as_ref() else {
                        let message = "found the key […] or {…}, expected a text";
                        return Err(Lost::refused(line, message));
                    };
                    let value = self.next()?;
                    entries.push(MapEntry {
                        key: text.clone(),
                        line,
                        place: self.place(value)?,
                    });
                }
                (anchor, LineTree::Map { line, entries })
            }
            _ => return Err(Lost::Here),
        };
        let place = Rc::new(place);
        if let Some(anchor) = anchor {
            let size = self.total - before;
            self.anchors.insert(anchor, (Rc::clone(&place), size));
        }
        Ok(place)
    }
}
