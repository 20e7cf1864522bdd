//! A service.

use super::{
    super::{
        Items::{Any as Many, Distinct},
        Leaf::{self, Amount, Bool, Count, Cpu, Flag, Name, Number, Scalar, Size, Span, Whole},
        ValueShape::{self, Either, Is, List, Map, Names, OneOf},
    },
    COMMAND, DISTINCT, DISTINCT_PAIRS, FILES, HOOK, HOSTS, KnownKeys, OPTIONS, Others, PAIRS, TEXT,
    TEXT_OR_TEXTS, TEXTS,
    build_deploy::{BUILD, DEPLOY, WATCH},
    fields, strict, with,
};

pub(in crate::compose::schema) const SERVICE: KnownKeys = fields(&[
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

const RATES: ValueShape = List(
    &Map(&strict(&[], &[("path", TEXT), ("rate", Is(Size))])),
    Many,
);

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

const LIMIT: ValueShape = Either(&[
    Is(Whole),
    Map(&with(
        &["soft", "hard"],
        &[("hard", Is(Whole)), ("soft", Is(Whole))],
    )),
]);
