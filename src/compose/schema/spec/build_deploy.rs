//! `build`, `develop` and `deploy` of a service.

use super::{
    super::{
        Items::Any as Many,
        Leaf::{self, Bool, Count, Cpu, Flag, Int, Number, Size, Span, TextSize, Whole},
        ValueShape::{self, Either, Is, List, Map, Names, OneOf},
    },
    DISTINCT, DISTINCT_PAIRS, FILES, HOOK, HOSTS, KnownKeys, PAIRS, TEXT, TEXT_OR_DISTINCT, TEXTS,
    fields, with,
};

pub(in crate::compose::schema) const DEPLOY: KnownKeys = fields(&[
    ("endpoint_mode", TEXT),
    ("labels", PAIRS),
    ("mode", TEXT),
    (
        "placement",
        Map(&fields(&[
            ("constraints", TEXTS),
            ("max_replicas_per_node", Is(Count)),
            (
                "preferences",
                List(&Map(&fields(&[("spread", TEXT)])), Many),
            ),
        ])),
    ),
    ("replicas", Is(Count)),
    (
        "resources",
        Map(&fields(&[
            (
                "limits",
                Map(&fields(&[
                    ("cpus", Is(Cpu)),
                    ("memory", Is(TextSize)),
                    ("pids", Is(Whole)),
                ])),
            ),
            (
                "reservations",
                Map(&fields(&[
                    ("cpus", Is(Cpu)),
                    ("devices", DEVICES),
                    (
                        "generic_resources",
                        List(
                            &Map(&fields(&[(
                                "discrete_resource_spec",
                                Map(&fields(&[("kind", TEXT), ("value", Is(Number))])),
                            )])),
                            Many,
                        ),
                    ),
                    ("memory", Is(TextSize)),
                ])),
            ),
        ])),
    ),
    (
        "restart_policy",
        Map(&fields(&[
            ("condition", TEXT),
            ("delay", Is(Span)),
            ("max_attempts", Is(Count)),
            ("window", Is(Span)),
        ])),
    ),
    ("rollback_config", UPDATE),
    ("update_config", UPDATE),
]);

pub(super) const BUILD: KnownKeys = fields(&[
    ("additional_contexts", Either(&[Names(&TEXT), DISTINCT])),
    ("args", PAIRS),
    ("cache_from", TEXTS),
    ("cache_to", TEXTS),
    ("context", TEXT),
    ("dockerfile", TEXT),
    ("dockerfile_inline", TEXT),
    ("entitlements", TEXTS),
    ("extra_hosts", HOSTS),
    ("isolation", TEXT),
    ("labels", PAIRS),
    ("network", TEXT),
    ("no_cache", Is(Flag)),
    ("platforms", TEXTS),
    ("privileged", Is(Flag)),
    ("provenance", Is(Leaf::TextOrBool)),
    ("pull", Is(Flag)),
    ("sbom", Is(Leaf::TextOrBool)),
    ("secrets", FILES),
    ("shm_size", Is(Size)),
    ("ssh", PAIRS),
    ("tags", TEXTS),
    ("target", TEXT),
    ("ulimits", Names(&BUILD_LIMIT)),
]);

const BUILD_LIMIT: ValueShape = Either(&[
    Is(Int),
    Map(&with(
        &["soft", "hard"],
        &[("hard", Is(Int)), ("soft", Is(Int))],
    )),
]);

pub(super) const WATCH: KnownKeys = with(
    &["path", "action"],
    &[
        (
            "action",
            OneOf(&["rebuild", "sync", "restart", "sync+restart", "sync+exec"]),
        ),
        ("exec", Map(&HOOK)),
        ("ignore", TEXT_OR_DISTINCT),
        ("include", TEXT_OR_DISTINCT),
        ("initial_sync", Is(Bool)),
        ("path", TEXT),
        ("target", TEXT),
    ],
);

const DEVICES: ValueShape = List(
    &Map(&with(
        &["capabilities"],
        &[
            ("capabilities", DISTINCT),
            ("count", Is(Leaf::Devices)),
            ("device_ids", DISTINCT),
            ("driver", TEXT),
            ("options", DISTINCT_PAIRS),
        ],
    )),
    Many,
);

const UPDATE: ValueShape = Map(&fields(&[
    ("delay", Is(Span)),
    ("failure_action", TEXT),
    ("max_failure_ratio", Is(Cpu)),
    ("monitor", Is(Span)),
    ("order", OneOf(&["start-first", "stop-first"])),
    ("parallelism", Is(Count)),
]));
