//! The compose specification as tables: which keys there are, and what each may hold.
//!
//! Facts of the specification, with the casts that compose makes on top of it. Every row was compared
//! with compose 2.40.3 for some thirty kinds of value.

pub(super) mod build_deploy;
mod service;
mod top_level;

use super::{
    Items::{Any as Many, Distinct},
    Leaf::{self, Flag, Scalar, Text, Word},
    ValueShape::{self, Either, Is, List, Map, Names},
};
use top_level::{CONFIG, MODEL, NETWORK, SECRET, VOLUME};

pub(super) use service::SERVICE;

/// A map with known keys.
#[derive(Debug)]
pub(super) struct KnownKeys {
    /// The keys, in the order of the alphabet.
    pub(super) keys: &'static [(&'static str, ValueShape)],
    /// Keys that must be there.
    pub(super) required: &'static [&'static str],
    /// What may stand beside them.
    pub(super) others: Others,
}

/// Keys that are not among the known ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Others {
    /// None.
    None,
    /// Those that begin with `x-`.
    Own,
    /// Whatever they are.
    Any,
}

const fn fields(keys: &'static [(&'static str, ValueShape)]) -> KnownKeys {
    KnownKeys {
        keys,
        required: &[],
        others: Others::Own,
    }
}

const fn with(
    required: &'static [&'static str],
    keys: &'static [(&'static str, ValueShape)],
) -> KnownKeys {
    KnownKeys {
        keys,
        required,
        others: Others::Own,
    }
}

const fn strict(
    required: &'static [&'static str],
    keys: &'static [(&'static str, ValueShape)],
) -> KnownKeys {
    KnownKeys {
        keys,
        required,
        others: Others::None,
    }
}

const TEXT: ValueShape = Is(Text);
const TEXTS: ValueShape = List(&TEXT, Many);
const DISTINCT: ValueShape = List(&TEXT, Distinct);
const TEXT_OR_TEXTS: ValueShape = Either(&[TEXT, TEXTS]);
const TEXT_OR_DISTINCT: ValueShape = Either(&[TEXT, DISTINCT]);
const COMMAND: ValueShape = Either(&[Is(Leaf::Nothing), TEXT, TEXTS]);
/// `KEY=value` pairs; compose keeps the last of a name.
const PAIRS: ValueShape = Either(&[Names(&Is(Scalar)), TEXTS]);
/// The same where compose does not look for doubles.
const DISTINCT_PAIRS: ValueShape = Either(&[Names(&Is(Scalar)), DISTINCT]);
const OPTIONS: ValueShape = Names(&Is(Word));
const HOSTS: ValueShape = Either(&[Names(&TEXT_OR_TEXTS), DISTINCT]);
const FILES: ValueShape = List(
    &Either(&[
        TEXT,
        Map(&fields(&[
            ("gid", TEXT),
            ("mode", Is(Leaf::FileMode)),
            ("source", TEXT),
            ("target", TEXT),
            ("uid", TEXT),
        ])),
    ]),
    Many,
);
const HOOK: KnownKeys = with(
    &["command"],
    &[
        ("command", COMMAND),
        ("environment", PAIRS),
        ("privileged", Is(Flag)),
        ("user", TEXT),
        ("working_dir", TEXT),
    ],
);

/// What `include` holds.
pub(super) const INCLUDE: ValueShape = List(
    &Either(&[
        TEXT,
        Map(&strict(
            &["path"],
            &[
                ("env_file", TEXT_OR_TEXTS),
                ("path", TEXT_OR_TEXTS),
                ("project_directory", TEXT),
            ],
        )),
    ]),
    Many,
);

/// The whole file.
pub(super) const TOP: KnownKeys = fields(&[
    ("configs", Names(&Map(&CONFIG))),
    ("include", INCLUDE),
    ("models", Names(&Map(&MODEL))),
    ("name", TEXT),
    (
        "networks",
        Names(&Either(&[Is(Leaf::Nothing), Map(&NETWORK)])),
    ),
    ("secrets", Names(&Map(&SECRET))),
    ("services", Names(&Map(&SERVICE))),
    ("version", TEXT),
    (
        "volumes",
        Names(&Either(&[Is(Leaf::Nothing), Map(&VOLUME)])),
    ),
]);
