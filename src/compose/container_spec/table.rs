//! Which keys of a service are translated plainly, which mean nothing to a container, and which are not
//! translated. `docs/replicas.md` lists them; a test holds the two together.

/// The part of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The container's configuration.
    Config,
    /// The host's part.
    Host,
}

/// How a value is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum As {
    /// A text, or what compose takes for one.
    Text,
    /// A list of texts, or one text.
    Texts,
    /// `KEY=value` pairs.
    Pairs,
    /// `true` or `false`.
    Flag,
    /// A whole number; 0 is none.
    Whole,
    /// The same where 0 is a number.
    Score,
    /// A size in bytes; 0 is none.
    Size,
    /// Cores; 0 is none.
    Cpus,
}

impl As {
    pub(super) fn zero_is_unset(self) -> bool {
        matches!(self, Self::Whole | Self::Size | Self::Cpus)
    }
}

/// Keys with one field of their own: key, part, field, kind.
pub(super) const PLAIN: &[(&str, Part, &str, As)] = &[
    ("cgroup", Part::Host, "CgroupnsMode", As::Text),
    ("cgroup_parent", Part::Host, "CgroupParent", As::Text),
    ("cpu_count", Part::Host, "CpuCount", As::Whole),
    ("cpu_period", Part::Host, "CpuPeriod", As::Whole),
    ("cpu_quota", Part::Host, "CpuQuota", As::Whole),
    ("cpu_rt_period", Part::Host, "CpuRealtimePeriod", As::Whole),
    (
        "cpu_rt_runtime",
        Part::Host,
        "CpuRealtimeRuntime",
        As::Whole,
    ),
    ("cpu_shares", Part::Host, "CpuShares", As::Whole),
    ("cpus", Part::Host, "NanoCpus", As::Cpus),
    ("cpuset", Part::Host, "CpusetCpus", As::Text),
    (
        "device_cgroup_rules",
        Part::Host,
        "DeviceCgroupRules",
        As::Texts,
    ),
    ("dns", Part::Host, "Dns", As::Texts),
    ("dns_opt", Part::Host, "DnsOptions", As::Texts),
    ("dns_search", Part::Host, "DnsSearch", As::Texts),
    ("domainname", Part::Config, "Domainname", As::Text),
    ("group_add", Part::Host, "GroupAdd", As::Texts),
    ("hostname", Part::Config, "Hostname", As::Text),
    ("init", Part::Host, "Init", As::Flag),
    ("isolation", Part::Host, "Isolation", As::Text),
    ("mem_limit", Part::Host, "Memory", As::Size),
    ("mem_reservation", Part::Host, "MemoryReservation", As::Size),
    ("mem_swappiness", Part::Host, "MemorySwappiness", As::Size),
    ("memswap_limit", Part::Host, "MemorySwap", As::Size),
    ("oom_kill_disable", Part::Host, "OomKillDisable", As::Flag),
    ("oom_score_adj", Part::Host, "OomScoreAdj", As::Score),
    ("pids_limit", Part::Host, "PidsLimit", As::Whole),
    ("privileged", Part::Host, "Privileged", As::Flag),
    ("read_only", Part::Host, "ReadonlyRootfs", As::Flag),
    ("runtime", Part::Host, "Runtime", As::Text),
    ("shm_size", Part::Host, "ShmSize", As::Size),
    ("stdin_open", Part::Config, "OpenStdin", As::Flag),
    ("stop_signal", Part::Config, "StopSignal", As::Text),
    ("storage_opt", Part::Host, "StorageOpt", As::Pairs),
    ("sysctls", Part::Host, "Sysctls", As::Pairs),
    ("tty", Part::Config, "Tty", As::Flag),
    ("user", Part::Config, "User", As::Text),
    ("userns_mode", Part::Host, "UsernsMode", As::Text),
    ("uts", Part::Host, "UTSMode", As::Text),
    ("working_dir", Part::Config, "WorkingDir", As::Text),
];

/// Keys that compose makes nothing of when it makes a container.
pub(super) const MEANINGLESS: &[&str] = &[
    "attach",
    "credential_spec",
    "develop",
    "extends",
    "profiles",
    "pull_policy",
    "pull_refresh_after",
    "scale",
];

/// Keys that are read before the others, or by somebody else.
pub(super) const ELSEWHERE: &[&str] = &[
    "build",
    "cap_add",
    "cap_drop",
    "container_name",
    "depends_on",
    "deploy",
    "env_file",
    "environment",
    "expose",
    "image",
    "label_file",
    "labels",
    "networks",
    "ports",
    "post_start",
    "pre_stop",
    "provider",
];

/// Keys that are not translated, with what to do.
pub(super) const REFUSED: &[(&str, &str)] = &[
    ("cpu_percent", "it is for Windows; `cpus` says the same"),
    (
        "external_links",
        "join the network of the other container instead",
    ),
    (
        "links",
        "a service is found by its name on a shared network without them",
    ),
    (
        "mac_address",
        "the Engine's API has moved it about; leave it out",
    ),
    ("models", "they are run by something else than the Engine"),
    (
        "use_api_socket",
        "compose copies credentials into the container; mount the socket instead",
    ),
];

/// Keys with a translation of their own.
#[cfg(test)]
pub(super) const OWN: &[&str] = &[
    "annotations",
    "blkio_config",
    "command",
    "configs",
    "devices",
    "entrypoint",
    "extra_hosts",
    "gpus",
    "healthcheck",
    "ipc",
    "logging",
    "network_mode",
    "pid",
    "platform",
    "restart",
    "secrets",
    "security_opt",
    "stop_grace_period",
    "tmpfs",
    "ulimits",
    "volumes",
    "volumes_from",
];
