//! The compose specification as tables: which keys there are, and what each may hold.
//!
//! Facts of the specification, with the casts that compose makes on top of it. Every row was compared
//! with compose 2.40.3 for some thirty kinds of value.

use super::{
    Items::{Any as Many, Distinct},
    Leaf::{
        self, Amount, Bool, Count, Cpu, Flag, Int, Name, Number, Scalar, Size, Span, Text,
        TextSize, Whole, Word,
    },
    ValueShape::{self, Either, Is, List, Map, Names, OneOf},
};

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
const EXTERNAL: ValueShape = Either(&[Is(Flag), Map(&fields(&[("name", TEXT)]))]);
const LOOSE_EXTERNAL: ValueShape = Either(&[
    Is(Flag),
    Map(&KnownKeys {
        others: Others::Any,
        ..fields(&[("name", TEXT)])
    }),
]);
const HOSTS: ValueShape = Either(&[Names(&TEXT_OR_TEXTS), DISTINCT]);
const LIMIT: ValueShape = Either(&[
    Is(Whole),
    Map(&with(
        &["soft", "hard"],
        &[("hard", Is(Whole)), ("soft", Is(Whole))],
    )),
]);
const BUILD_LIMIT: ValueShape = Either(&[
    Is(Int),
    Map(&with(
        &["soft", "hard"],
        &[("hard", Is(Int)), ("soft", Is(Int))],
    )),
]);
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
const RATES: ValueShape = List(
    &Map(&strict(&[], &[("path", TEXT), ("rate", Is(Size))])),
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

pub(super) const SERVICE: KnownKeys = fields(&[
    ("annotations", PAIRS),
    ("attach", Is(Flag)),
    ("blkio_config", Map(&BLKIO)),
    ("build", Either(&[TEXT, Map(&BUILD)])),
    ("cap_add", TEXTS),
    ("cap_drop", TEXTS),
    ("cgroup", OneOf(&["host", "private"])),
    ("cgroup_parent", TEXT),
    ("command", COMMAND),
    ("configs", FILES),
    ("container_name", Is(Name)),
    ("cpu_count", Is(Count)),
    ("cpu_percent", Is(Leaf::Percent)),
    ("cpu_period", Is(Number)),
    ("cpu_quota", Is(Number)),
    ("cpu_rt_period", Is(Number)),
    ("cpu_rt_runtime", Is(Number)),
    ("cpu_shares", Is(Number)),
    ("cpus", Is(Cpu)),
    ("cpuset", TEXT),
    (
        "credential_spec",
        Map(&fields(&[
            ("config", TEXT),
            ("file", TEXT),
            ("registry", TEXT),
        ])),
    ),
    (
        "depends_on",
        Either(&[
            DISTINCT,
            Names(&Map(&with(
                &["condition"],
                &[
                    (
                        "condition",
                        OneOf(&[
                            "service_started",
                            "service_healthy",
                            "service_completed_successfully",
                        ]),
                    ),
                    ("required", Is(Bool)),
                    ("restart", Is(Flag)),
                ],
            ))),
        ]),
    ),
    ("deploy", Either(&[Is(Leaf::Nothing), Map(&DEPLOY)])),
    (
        "develop",
        Either(&[
            Is(Leaf::Nothing),
            Map(&fields(&[("watch", List(&Map(&WATCH), Many))])),
        ]),
    ),
    ("device_cgroup_rules", DISTINCT),
    (
        "devices",
        List(
            &Either(&[
                TEXT,
                Map(&with(
                    &["source", "target"],
                    &[("permissions", TEXT), ("source", TEXT), ("target", TEXT)],
                )),
            ]),
            Many,
        ),
    ),
    ("dns", TEXT_OR_TEXTS),
    ("dns_opt", TEXTS),
    ("dns_search", TEXT_OR_TEXTS),
    ("domainname", TEXT),
    ("entrypoint", COMMAND),
    (
        "env_file",
        Either(&[
            TEXT,
            List(
                &Either(&[
                    TEXT,
                    Map(&strict(
                        &["path"],
                        &[("format", TEXT), ("path", TEXT), ("required", Is(Flag))],
                    )),
                ]),
                Many,
            ),
        ]),
    ),
    ("environment", PAIRS),
    ("expose", List(&Is(Leaf::TextOrInt), Many)),
    (
        "extends",
        Either(&[
            TEXT,
            Map(&strict(&["service"], &[("file", TEXT), ("service", TEXT)])),
        ]),
    ),
    ("external_links", DISTINCT),
    ("extra_hosts", HOSTS),
    ("gpus", Either(&[OneOf(&["all"]), List(&Map(&GPU), Many)])),
    ("group_add", List(&Is(Leaf::TextOrInt), Distinct)),
    (
        "healthcheck",
        Map(&fields(&[
            ("disable", Is(Flag)),
            ("interval", Is(Span)),
            ("retries", Is(Amount)),
            ("start_interval", Is(Span)),
            ("start_period", Is(Span)),
            ("test", TEXT_OR_TEXTS),
            ("timeout", Is(Span)),
        ])),
    ),
    ("hostname", TEXT),
    ("image", TEXT),
    ("init", Is(Flag)),
    ("ipc", TEXT),
    ("isolation", TEXT),
    ("label_file", TEXT_OR_TEXTS),
    ("labels", PAIRS),
    ("links", TEXTS),
    (
        "logging",
        Map(&fields(&[
            ("driver", TEXT),
            ("options", Names(&Is(Leaf::WordOrNothing))),
        ])),
    ),
    ("mac_address", TEXT),
    ("mem_limit", Is(Leaf::LooseSize)),
    ("mem_reservation", Is(Size)),
    ("mem_swappiness", Is(Size)),
    ("memswap_limit", Is(Leaf::LooseSize)),
    (
        "models",
        Either(&[
            DISTINCT,
            Names(&Either(&[
                Is(Leaf::Nothing),
                Map(&fields(&[("endpoint_var", TEXT), ("model_var", TEXT)])),
            ])),
        ]),
    ),
    ("network_mode", TEXT),
    (
        "networks",
        Either(&[
            DISTINCT,
            Names(&Either(&[Is(Leaf::Nothing), Map(&ATTACHED)])),
        ]),
    ),
    ("oom_kill_disable", Is(Flag)),
    ("oom_score_adj", Is(Leaf::Score)),
    ("pid", TEXT),
    ("pids_limit", Is(Number)),
    ("platform", TEXT),
    ("ports", List(&Either(&[Is(Leaf::Port), Map(&PORT)]), Many)),
    ("post_start", List(&Map(&HOOK), Many)),
    ("pre_stop", List(&Map(&HOOK), Many)),
    ("privileged", Is(Flag)),
    ("profiles", TEXTS),
    (
        "provider",
        Map(&with(
            &["type"],
            &[
                (
                    "options",
                    Names(&Either(&[Is(Leaf::Given), List(&Is(Leaf::Given), Many)])),
                ),
                ("type", TEXT),
            ],
        )),
    ),
    ("pull_policy", Is(Leaf::PullPolicy)),
    ("pull_refresh_after", TEXT),
    ("read_only", Is(Flag)),
    ("restart", TEXT),
    ("runtime", TEXT),
    ("scale", Is(Count)),
    ("secrets", FILES),
    ("security_opt", DISTINCT),
    ("shm_size", Is(Leaf::LooseSize)),
    ("stdin_open", Is(Flag)),
    ("stop_grace_period", Is(Span)),
    ("stop_signal", TEXT),
    ("storage_opt", Names(&Is(Scalar))),
    ("sysctls", PAIRS),
    ("tmpfs", TEXT_OR_TEXTS),
    ("tty", Is(Flag)),
    ("ulimits", Names(&LIMIT)),
    ("use_api_socket", Is(Bool)),
    ("user", TEXT),
    ("userns_mode", TEXT),
    ("uts", TEXT),
    ("volumes", List(&Either(&[TEXT, Map(&MOUNT)]), Many)),
    ("volumes_from", DISTINCT),
    ("working_dir", TEXT),
]);

const BLKIO: KnownKeys = strict(
    &[],
    &[
        ("device_read_bps", RATES),
        ("device_read_iops", RATES),
        ("device_write_bps", RATES),
        ("device_write_iops", RATES),
        ("weight", Is(Leaf::Weight)),
        (
            "weight_device",
            List(
                &Map(&strict(
                    &[],
                    &[("path", TEXT), ("weight", Is(Leaf::Weight))],
                )),
                Many,
            ),
        ),
    ],
);

const BUILD: KnownKeys = fields(&[
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

const WATCH: KnownKeys = with(
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

pub(super) const DEPLOY: KnownKeys = fields(&[
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

/// Compose checks the values of these keys and takes any other key.
const GPU: KnownKeys = KnownKeys {
    others: Others::Any,
    ..fields(GPU_KEYS)
};

const GPU_KEYS: &[(&str, ValueShape)] = &[
    ("capabilities", DISTINCT),
    ("count", Is(Leaf::Devices)),
    ("device_ids", DISTINCT),
    ("driver", TEXT),
    ("options", DISTINCT_PAIRS),
];

const ATTACHED: KnownKeys = fields(&[
    ("aliases", TEXTS),
    ("driver_opts", OPTIONS),
    ("gw_priority", Is(Leaf::Priority)),
    ("interface_name", TEXT),
    ("ipv4_address", TEXT),
    ("ipv6_address", TEXT),
    ("link_local_ips", TEXTS),
    ("mac_address", TEXT),
    ("priority", Is(Leaf::Priority)),
]);

const PORT: KnownKeys = with(
    &["target"],
    &[
        ("app_protocol", TEXT),
        ("host_ip", TEXT),
        ("mode", TEXT),
        ("name", TEXT),
        ("protocol", TEXT),
        ("published", Is(Leaf::TextOrInt)),
        ("target", Is(Count)),
    ],
);

const MOUNT: KnownKeys = with(
    &["type", "target"],
    &[
        (
            "bind",
            Map(&fields(&[
                ("create_host_path", Is(Flag)),
                ("propagation", TEXT),
                (
                    "recursive",
                    OneOf(&["enabled", "disabled", "writable", "readonly"]),
                ),
                ("selinux", OneOf(&["z", "Z"])),
            ])),
        ),
        ("consistency", TEXT),
        ("image", Map(&fields(&[("subpath", TEXT)]))),
        ("read_only", Is(Flag)),
        ("source", TEXT),
        ("target", TEXT),
        (
            "tmpfs",
            Map(&fields(&[
                ("mode", Is(Leaf::Mode)),
                ("size", Is(Leaf::TmpfsSize)),
            ])),
        ),
        (
            "type",
            OneOf(&["bind", "volume", "tmpfs", "cluster", "npipe", "image"]),
        ),
        (
            "volume",
            Map(&fields(&[
                ("labels", DISTINCT_PAIRS),
                ("nocopy", Is(Flag)),
                ("subpath", TEXT),
            ])),
        ),
    ],
);

const NETWORK: KnownKeys = fields(&[
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

const VOLUME: KnownKeys = fields(&[
    ("driver", TEXT),
    ("driver_opts", OPTIONS),
    ("external", EXTERNAL),
    ("labels", DISTINCT_PAIRS),
    ("name", TEXT),
]);

const SECRET: KnownKeys = fields(&[
    ("driver", TEXT),
    ("driver_opts", Names(&Is(Leaf::TextOrInt))),
    ("environment", TEXT),
    ("external", LOOSE_EXTERNAL),
    ("file", TEXT),
    ("labels", DISTINCT_PAIRS),
    ("name", TEXT),
    ("template_driver", TEXT),
]);

const CONFIG: KnownKeys = fields(&[
    ("content", TEXT),
    ("environment", TEXT),
    ("external", LOOSE_EXTERNAL),
    ("file", TEXT),
    ("labels", DISTINCT_PAIRS),
    ("name", TEXT),
    ("template_driver", TEXT),
]);

const MODEL: KnownKeys = with(
    &["model"],
    &[
        ("context_size", Is(Int)),
        ("model", TEXT),
        ("name", TEXT),
        ("runtime_flags", TEXTS),
    ],
);
