//! Single values: what compose takes for each kind, after the casts that it makes of texts.

use crate::compose::{long_forms, text_parsers, tree::NodeValue};

/// A kind of single value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaf {
    /// Nothing at all.
    Nothing,
    /// A text.
    Text,
    /// `true` or `false` and no word for it.
    Bool,
    /// `true`, `false`, or a word for one of them.
    Flag,
    /// A text, `true` or `false`.
    TextOrBool,
    /// A whole number and no text of one.
    Int,
    /// A whole number or a text of one.
    Whole,
    /// The same, at least 0.
    Count,
    /// The same, from 0 to 100.
    Percent,
    /// The same, from -1000 to 1000.
    Score,
    /// A number of at least 0, of which the whole part counts, or a text of a whole one.
    Amount,
    /// A number, or a text of a whole one.
    Number,
    /// A number or a text of one.
    Cpu,
    /// A number of at least 0 and no text of one.
    Mode,
    /// A whole number of at least 0 and no text of one.
    Weight,
    /// A number and no text of one.
    Priority,
    /// A number of devices or `all`.
    Devices,
    /// A whole number, or a text of an octal one.
    FileMode,
    /// A size as a text.
    TextSize,
    /// A size as a whole number or a text.
    Size,
    /// A size as a whole number of at least 0 or a text.
    TmpfsSize,
    /// A size as any number or a text.
    LooseSize,
    /// A time with its unit.
    Span,
    /// A text or a number.
    Word,
    /// A text, a number or nothing.
    WordOrNothing,
    /// A text or a whole number.
    TextOrInt,
    /// A text, a number, `true` or `false`.
    Given,
    /// Any of all these.
    Scalar,
    /// A port; its grammar is for its own reader.
    Port,
    /// The name of a container.
    Name,
    /// When to pull.
    PullPolicy,
}

impl Leaf {
    /// Whether compose takes this value.
    pub(super) fn takes(self, value: &NodeValue) -> bool {
        match value {
            NodeValue::Date(_) | NodeValue::List(_) | NodeValue::Map(_) => false,
            NodeValue::Null => matches!(self, Self::Nothing | Self::Scalar | Self::WordOrNothing),
            NodeValue::Bool(_) => matches!(
                self,
                Self::Bool | Self::Flag | Self::TextOrBool | Self::Given | Self::Scalar
            ),
            NodeValue::Int(number) => self.takes_number(*number as f64),
            NodeValue::Float(number) => self.takes_number(*number),
            NodeValue::Text(text) => self.takes_text(text),
        }
    }

    fn takes_number(self, number: f64) -> bool {
        let whole = number.fract() == 0.0;
        match self {
            Self::Int
            | Self::Whole
            | Self::Devices
            | Self::FileMode
            | Self::Size
            | Self::TextOrInt
            | Self::Port => whole,
            Self::Count | Self::Weight | Self::TmpfsSize => whole && number >= 0.0,
            Self::Percent => whole && (0.0..=100.0).contains(&number),
            Self::Score => whole && (-1000.0..=1000.0).contains(&number),
            Self::Amount | Self::Mode => number >= 0.0,
            Self::Number
            | Self::Cpu
            | Self::Priority
            | Self::LooseSize
            | Self::Word
            | Self::WordOrNothing
            | Self::Given
            | Self::Scalar => true,
            Self::Nothing
            | Self::Text
            | Self::Bool
            | Self::Flag
            | Self::TextOrBool
            | Self::TextSize
            | Self::Span
            | Self::Name
            | Self::PullPolicy => false,
        }
    }

    fn takes_text(self, text: &str) -> bool {
        let whole = || text.parse::<i64>().ok();
        match self {
            Self::Text
            | Self::TextOrBool
            | Self::Word
            | Self::WordOrNothing
            | Self::TextOrInt
            | Self::Given
            | Self::Scalar
            | Self::Port => true,
            Self::Nothing | Self::Bool | Self::Int | Self::Mode | Self::Weight | Self::Priority => {
                false
            }
            Self::Flag => long_forms::word_for_flag(text).is_some(),
            Self::Whole | Self::Number => whole().is_some(),
            Self::Count | Self::Amount => whole().is_some_and(|number| number >= 0),
            Self::Percent => whole().is_some_and(|number| (0..=100).contains(&number)),
            Self::Score => whole().is_some_and(|number| (-1000..=1000).contains(&number)),
            Self::Cpu => text.parse::<f64>().is_ok_and(f64::is_finite),
            Self::Devices => text.eq_ignore_ascii_case("all") || whole().is_some(),
            Self::FileMode => i64::from_str_radix(text, 8).is_ok(),
            Self::TextSize | Self::Size | Self::TmpfsSize | Self::LooseSize => {
                text_parsers::size(text).is_some()
            }
            Self::Span => text_parsers::duration(text).is_some(),
            Self::Name => {
                let bytes = text.as_bytes();
                let inside = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
                bytes
                    .windows(2)
                    .any(|pair| pair[0].is_ascii_alphanumeric() && inside(pair[1]))
            }
            Self::PullPolicy => is_pull_policy(text),
        }
    }

    /// What to say is expected.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Text => "a text",
            Self::Bool | Self::Flag => "true or false",
            Self::TextOrBool => "a text, true or false",
            Self::Int | Self::Whole | Self::Number => "a whole number",
            Self::Count | Self::Amount | Self::Weight => "a whole number of at least 0",
            Self::Percent => "a whole number from 0 to 100",
            Self::Score => "a whole number from -1000 to 1000",
            Self::Priority | Self::Cpu => "a number",
            Self::Mode => "a file mode as a number, like 0755 without quotes",
            Self::Devices => "a number of devices, or all",
            Self::FileMode => "a file mode, like \"0444\"",
            Self::TextSize => "a size with its unit, like 512M",
            Self::Size | Self::TmpfsSize | Self::LooseSize => "a size like 512m or 1.5g",
            Self::Span => "a duration with its unit, like 30s or 1m30s",
            Self::Word => "a text or a number",
            Self::TextOrInt => "a text or a whole number",
            Self::WordOrNothing => "a text, a number or nothing",
            Self::Given => "a text, a number, true or false",
            Self::Scalar => "a text, a number or a boolean",
            Self::Port => "a port like \"8080:80\"",
            Self::Name => {
                "a container name: at least two of letters, digits, `_`, `.` and `-`, a letter or digit first"
            }
            Self::PullPolicy => {
                "always, never, missing, build, daily, weekly or every_ with a time like every_12h"
            }
        }
    }
}

/// Compose looks for one of the words anywhere in the text.
fn is_pull_policy(text: &str) -> bool {
    let words = [
        "always",
        "never",
        "build",
        "if_not_present",
        "missing",
        "refresh",
        "daily",
        "weekly",
    ];
    words.iter().any(|word| text.contains(word))
        || text.match_indices("every_").any(|(at, word)| {
            let rest = &text[at + word.len()..];
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(0);
            digits > 0 && rest[digits..].starts_with(['w', 'd', 'h', 'm', 's'])
        })
}
