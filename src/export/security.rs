//! Whom a container runs as, and what it may.

use k8s_openapi::api::core::v1::{
    AppArmorProfile, Capabilities, PodSecurityContext, SeccompProfile, SecurityContext, Sysctl,
};

use super::{Remarks, ServiceSubject};

/// Kernel parameters that every kubelet allows.
const SAFE_SYSCTLS: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

/// User and group by number; `None` where they are names or not written.
fn user(subject: &ServiceSubject<'_>, told: &mut Remarks) -> (Option<i64>, Option<i64>) {
    let Some(text) = &subject.service.workload.user else {
        return (None, None);
    };
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (text.as_str(), None),
    };
    let number = |text: &str| {
        text.parse::<i32>()
            .ok()
            .filter(|id| *id >= 0)
            .map(i64::from)
    };
    let uid = if user == "root" {
        Some(0)
    } else {
        number(user)
    };
    let gid = group.and_then(|group| {
        if group == "root" {
            Some(0)
        } else {
            number(group)
        }
    });
    if uid.is_none() && !user.is_empty() || gid.is_none() && group.is_some_and(|g| !g.is_empty()) {
        told.lost(
            subject.place("user"),
            format!("{text}: Kubernetes takes numbers only, so the image's own user is used"),
            "write the numbers (`docker compose exec SERVICE id`) and export again",
        );
    }
    (uid, gid)
}

/// Of the container.
pub(super) fn of_container(
    subject: &ServiceSubject<'_>,
    told: &mut Remarks,
) -> Option<SecurityContext> {
    let workload = &subject.service.workload;
    let (run_as_user, run_as_group) = user(subject, told);
    let list = |names: &std::collections::BTreeSet<String>| {
        (!names.is_empty()).then(|| names.iter().cloned().collect::<Vec<_>>())
    };
    let (add, drop) = (list(&workload.cap_add), list(&workload.cap_drop));
    let mut context = SecurityContext {
        run_as_user,
        run_as_group,
        privileged: workload.privileged.then_some(true),
        read_only_root_filesystem: workload.read_only.then_some(true),
        capabilities: (add.is_some() || drop.is_some()).then_some(Capabilities { add, drop }),
        ..SecurityContext::default()
    };
    for option in &workload.security {
        let (name, value) = option.split_once(['=', ':']).unwrap_or((option, "true"));
        match (name, value) {
            ("no-new-privileges", "true") => context.allow_privilege_escalation = Some(false),
            ("no-new-privileges", "false") => {}
            ("seccomp", "unconfined") => {
                context.seccomp_profile = Some(SeccompProfile {
                    type_: "Unconfined".to_owned(),
                    localhost_profile: None,
                });
            }
            ("apparmor", "unconfined") => {
                context.app_armor_profile = Some(AppArmorProfile {
                    type_: "Unconfined".to_owned(),
                    localhost_profile: None,
                });
            }
            _ => told.lost(
                subject.place("security_opt"),
                format!("{option}: profiles are files of the node"),
                "`seccompProfile`, `appArmorProfile` or `seLinuxOptions` of the container, with the profile on each node",
            ),
        }
    }
    // A privileged container escalates whatever is written, and the API refuses the pair.
    if context.privileged == Some(true) {
        context.allow_privilege_escalation = None;
    }
    (context != SecurityContext::default()).then_some(context)
}

/// Of the pod.
pub(super) fn of_pod(
    subject: &ServiceSubject<'_>,
    told: &mut Remarks,
) -> Option<PodSecurityContext> {
    let workload = &subject.service.workload;
    let mut groups = Vec::new();
    for group in &workload.group_add {
        match group.parse::<i32>() {
            Ok(number) if number >= 0 => groups.push(number.into()),
            _ => told.lost(
                subject.place("group_add"),
                format!("{group}: Kubernetes takes numbers only"),
                "write the number and export again",
            ),
        }
    }
    let unsafe_ones: Vec<&str> = workload
        .sysctls
        .keys()
        .map(String::as_str)
        .filter(|name| !SAFE_SYSCTLS.contains(name))
        .collect();
    if !unsafe_ones.is_empty() {
        told.lost(
            subject.place("sysctls"),
            format!(
                "{}: a kubelet refuses a pod with it, unless it is told to allow it",
                unsafe_ones.join(", ")
            ),
            "the kubelet's `--allowed-unsafe-sysctls`, and `securityContext.sysctls` of the pod",
        );
    }
    let sysctls: Vec<Sysctl> = workload
        .sysctls
        .iter()
        .filter(|(name, _)| SAFE_SYSCTLS.contains(&name.as_str()))
        .map(|(name, value)| Sysctl {
            name: name.clone(),
            value: value.clone(),
        })
        .collect();
    // Docker gives a new volume to the user of the image's directory; a claim is root's.
    let writes = subject.service.volumes.iter();
    let mut writes = writes.filter(|volume| volume.kind == "volume" && !volume.read_only);
    let gid = workload.user.as_deref().and_then(|text| {
        let (user, group) = text.split_once(':').unwrap_or((text, text));
        let group = if group.is_empty() { user } else { group };
        group
            .parse::<i32>()
            .ok()
            .filter(|gid| *gid > 0)
            .map(i64::from)
    });
    let fs_group = gid.filter(|_| writes.next().is_some());
    let context = PodSecurityContext {
        supplemental_groups: (!groups.is_empty()).then_some(groups),
        sysctls: (!sysctls.is_empty()).then_some(sysctls),
        fs_group,
        ..PodSecurityContext::default()
    };
    (context != PodSecurityContext::default()).then_some(context)
}
