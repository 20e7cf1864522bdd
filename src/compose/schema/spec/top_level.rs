//! What a file has beside services.

use super::{
    super::{
        Items::Any as Many,
        Leaf::{self, Flag, Int},
        ValueShape::{self, Either, Is, List, Map, Names},
    },
    DISTINCT_PAIRS, KnownKeys, OPTIONS, Others, PAIRS, TEXT, TEXTS, fields, with,
};

pub(super) const NETWORK: KnownKeys = fields(&[
    ("attachable", Is(Flag)),
    ("driver", TEXT),
    ("driver_opts", OPTIONS),
    ("enable_ipv4", Is(Flag)),
    ("enable_ipv6", Is(Flag)),
    ("external", EXTERNAL),
    ("internal", Is(Flag)),
    (
        "ipam",
        Map(&fields(&[
            (
                "config",
                List(
                    &Map(&fields(&[
                        ("aux_addresses", Names(&TEXT)),
                        ("gateway", TEXT),
                        ("ip_range", TEXT),
                        ("subnet", TEXT),
                    ])),
                    Many,
                ),
            ),
            ("driver", TEXT),
            ("options", Names(&TEXT)),
        ])),
    ),
    ("labels", PAIRS),
    ("name", TEXT),
]);

pub(super) const VOLUME: KnownKeys = fields(&[
    ("driver", TEXT),
    ("driver_opts", OPTIONS),
    ("external", EXTERNAL),
    ("labels", DISTINCT_PAIRS),
    ("name", TEXT),
]);

pub(super) const SECRET: KnownKeys = fields(&[
    ("driver", TEXT),
    ("driver_opts", Names(&Is(Leaf::TextOrInt))),
    ("environment", TEXT),
    ("external", LOOSE_EXTERNAL),
    ("file", TEXT),
    ("labels", DISTINCT_PAIRS),
    ("name", TEXT),
    ("template_driver", TEXT),
]);

pub(super) const CONFIG: KnownKeys = fields(&[
    ("content", TEXT),
    ("environment", TEXT),
    ("external", LOOSE_EXTERNAL),
    ("file", TEXT),
    ("labels", DISTINCT_PAIRS),
    ("name", TEXT),
    ("template_driver", TEXT),
]);

pub(super) const MODEL: KnownKeys = with(
    &["model"],
    &[
        ("context_size", Is(Int)),
        ("model", TEXT),
        ("name", TEXT),
        ("runtime_flags", TEXTS),
    ],
);

const EXTERNAL: ValueShape = Either(&[Is(Flag), Map(&fields(&[("name", TEXT)]))]);

const LOOSE_EXTERNAL: ValueShape = Either(&[
    Is(Flag),
    Map(&KnownKeys {
        others: Others::Any,
        ..fields(&[("name", TEXT)])
    }),
]);
