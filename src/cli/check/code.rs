//! The codes of what `check` finds: stable words for scripts, each explained on its page.

use crate::{plan::blockers, watch::nginx_preflight};

macro_rules! codes {
    ($($name:ident = $text:literal $(in $key:literal)?),+ $(,)?) => {
        /// What kind of thing was found.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum CheckCode {
            $($name),+
        }

        /// Every code that `check` may print.
        pub const CODES: &[&str] = &[$($text),+];

        impl CheckCode {
            /// The word for it.
            pub(super) fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $text),+
                }
            }

            /// The key of the service that it is about, where it is about the compose file; empty for
            /// the service as a whole.
            pub(super) fn key(self) -> Option<&'static str> {
                match self {
                    $(Self::$name => first(&[$($key)?])),+
                }
            }
        }
    };
}

fn first(keys: &[&'static str]) -> Option<&'static str> {
    keys.first().copied()
}

codes! {
    // The compose file.
    NoPolicy = "no-policy",
    ContainerName = "container-name" in "container_name",
    HostPort = "host-port" in "ports",
    PortRange = "port-range" in "ports",
    StaticAddress = "static-address" in "networks",
    MacAddress = "mac-address" in "mac_address",
    PreStart = "pre-start" in "pre_start",
    NetworkMode = "network-mode" in "network_mode",
    NginxName = "nginx-name" in "",
    NoImage = "no-image" in "",
    NoPort = "no-port" in "x-autoscale",
    ReadyNeedsPort = "ready-needs-port" in "x-autoscale",
    MemoryTarget = "memory-target" in "x-autoscale",
    NoCpuLimit = "no-cpu-limit" in "deploy",
    NoMemoryLimit = "no-memory-limit" in "deploy",
    NoHealthcheck = "no-healthcheck" in "",
    NoRestart = "no-restart" in "restart",
    SingleWriter = "single-writer" in "volumes",
    Database = "database" in "image",
    SharedVolume = "shared-volume" in "volumes",
    Links = "links" in "links",
    WaitsForHealth = "waits-for-health" in "depends_on",
    BehindFile = "behind-file" in "",
    BehindUnknown = "behind-unknown" in "",
    GraceShort = "grace-short" in "stop_grace_period",
    // The Engine and what runs.
    EngineAway = "engine-away",
    SocketRights = "socket-rights",
    EngineIssue = "engine-issue",
    NotLookedAt = "not-looked-at",
    SlowCounters = "slow-counters",
    NothingRuns = "nothing-runs" in "",
    Crashing = "crashing" in "",
    Unhealthy = "unhealthy" in "",
    HalfRecreated = "half-recreated" in "",
    ContainersOlder = "containers-older" in "",
    MixedReplicas = "mixed-replicas" in "",
    HealthcheckNeeded = "healthcheck-needed" in "x-autoscale",
    // The machine.
    NoRoom = "no-room" in "deploy",
    ClockApart = "clock-apart",
    DiskLow = "disk-low",
    StateNotWritable = "state-not-writable",
    UpstreamsNotWritable = "upstreams-not-writable",
    WritableByOthers = "writable-by-others",
    WatchedElsewhere = "watched-elsewhere",
    StateElsewhere = "state-elsewhere",
    // Metrics and notifications.
    MetricUnreadable = "metric-unreadable" in "x-autoscale",
    NotifyProgram = "notify-program",
    NotifyClearText = "notify-clear-text",
    NotifyUnknownHost = "notify-unknown-host",
    NotifyNobody = "notify-nobody",
    NotifyTestFailed = "notify-test-failed",
    // nginx.
    NginxUnknown = "nginx-unknown",
    NginxNotRunning = "nginx-not-running",
    NginxCrashing = "nginx-crashing",
    NginxPaused = "nginx-paused",
    NginxUnanswered = "nginx-unanswered",
    NginxUnread = "nginx-unread",
    NginxInvalid = "nginx-invalid",
    NginxOld = "nginx-old",
    NginxVersion = "nginx-version",
    NginxNoWay = "nginx-no-way" in "networks",
    NginxPublishedPort = "nginx-published-port" in "ports",
    NginxNotMounted = "nginx-not-mounted",
    NginxSingleFile = "nginx-single-file",
    NginxMountWritable = "nginx-mount-writable",
    NginxStale = "nginx-stale",
    NginxStaleAddress = "nginx-stale-address",
    NginxNotIncluded = "nginx-not-included",
    NginxMisplaced = "nginx-misplaced",
    NginxIncludedTwice = "nginx-included-twice",
    NginxSameName = "nginx-same-name",
    NginxPortInPass = "nginx-port-in-pass",
    NginxDuplicate = "nginx-duplicate",
    NginxNoPass = "nginx-no-pass",
    NginxNoSettings = "nginx-no-settings",
    NginxHeadersHidden = "nginx-headers-hidden",
    NginxBypass = "nginx-bypass",
    NginxResolver = "nginx-resolver",
    NginxShutdownTimeout = "nginx-shutdown-timeout",
    DrainShort = "drain-short" in "x-autoscale",
    NginxLogDirectory = "nginx-log-directory",
    NginxLogGrows = "nginx-log-grows",
    NginxLogMissing = "nginx-log-missing",
    NginxLogUnreadable = "nginx-log-unreadable",
    NginxNoLines = "nginx-no-lines",
    NginxUnlogged = "nginx-unlogged",
    NginxStatus = "nginx-status",
}

impl From<blockers::BlockerKind> for CheckCode {
    fn from(kind: blockers::BlockerKind) -> Self {
        match kind {
            blockers::BlockerKind::ContainerName => Self::ContainerName,
            blockers::BlockerKind::HostPort => Self::HostPort,
            blockers::BlockerKind::PortRange => Self::PortRange,
            blockers::BlockerKind::StaticAddress => Self::StaticAddress,
            blockers::BlockerKind::MacAddress => Self::MacAddress,
            blockers::BlockerKind::PreStart => Self::PreStart,
            blockers::BlockerKind::NetworkMode => Self::NetworkMode,
            blockers::BlockerKind::NoImage => Self::NoImage,
            blockers::BlockerKind::NginxUnknown => Self::NginxUnknown,
            blockers::BlockerKind::MemoryTarget => Self::MemoryTarget,
            blockers::BlockerKind::NginxName => Self::NginxName,
        }
    }
}

impl From<nginx_preflight::PreflightProblemKind> for CheckCode {
    fn from(kind: nginx_preflight::PreflightProblemKind) -> Self {
        match kind {
            nginx_preflight::PreflightProblemKind::NotMounted => Self::NginxNotMounted,
            nginx_preflight::PreflightProblemKind::SingleFile => Self::NginxSingleFile,
            nginx_preflight::PreflightProblemKind::NotIncluded => Self::NginxNotIncluded,
            nginx_preflight::PreflightProblemKind::Misplaced => Self::NginxMisplaced,
            nginx_preflight::PreflightProblemKind::IncludedTwice => Self::NginxIncludedTwice,
            nginx_preflight::PreflightProblemKind::SameName => Self::NginxSameName,
            nginx_preflight::PreflightProblemKind::PortInPass => Self::NginxPortInPass,
            nginx_preflight::PreflightProblemKind::Duplicate => Self::NginxDuplicate,
            nginx_preflight::PreflightProblemKind::Unlogged => Self::NginxUnlogged,
            nginx_preflight::PreflightProblemKind::NoUpstream => Self::NoPort,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_findings_have_one_code() {
        let mut codes = CODES.to_vec();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), CODES.len());
    }
}
