//! What becomes of each key of a service. `docs/export.md` lists the same; tests hold the two and the
//! keys that compose knows together.

use super::{Remarks, ServiceSubject};

/// Keys that are carried over, wholly or with remarks of their own.
pub(super) const CARRIED: &[&str] = &[
    "annotations",
    "build",
    "cap_add",
    "cap_drop",
    "command",
    "configs",
    "container_name",
    "cpu_period",
    "cpu_quota",
    "cpus",
    "depends_on",
    "deploy.replicas",
    "deploy.resources.limits.cpus",
    "deploy.resources.limits.memory",
    "deploy.resources.reservations.cpus",
    "deploy.resources.reservations.memory",
    "dns",
    "dns_opt",
    "dns_search",
    "entrypoint",
    "env_file",
    "environment",
    "expose",
    "extra_hosts",
    "group_add",
    "healthcheck",
    "hostname",
    "image",
    "init",
    "label_file",
    "labels",
    "mem_limit",
    "mem_reservation",
    "networks",
    "platform",
    "ports",
    "post_start",
    "pre_stop",
    "privileged",
    "pull_policy",
    "read_only",
    "restart",
    "scale",
    "secrets",
    "security_opt",
    "shm_size",
    "stdin_open",
    "stop_grace_period",
    "stop_signal",
    "sysctls",
    "tmpfs",
    "tty",
    "user",
    "volumes",
    "working_dir",
];

/// Keys that are about compose itself, and mean nothing elsewhere.
pub(super) const NOTHING: &[&str] = &[
    "attach",
    "deploy.labels",
    "develop",
    "extends",
    "profiles",
    "pull_refresh_after",
];

/// Keys that do not carry over: what is lost, and what to do.
pub(super) const LOST: &[(&str, &str, &str)] = &[
    (
        "blkio_config",
        "weights and limits of disk access are not a matter of a pod",
        "give it nodes or a StorageClass of its own if disks are short",
    ),
    (
        "cgroup",
        "the kubelet decides on the cgroup namespace",
        "leave it out; on cgroup v2 every container has its own",
    ),
    (
        "cgroup_parent",
        "the kubelet places cgroups by the pod's resources",
        "leave it out; requests and limits do the same work",
    ),
    ("cpu_count", "it is for Windows", "`cpus` says the same"),
    ("cpu_percent", "it is for Windows", "`cpus` says the same"),
    (
        "cpu_rt_period",
        "no scheduling in real time",
        "a node of its own, with a taint",
    ),
    (
        "cpu_rt_runtime",
        "no scheduling in real time",
        "a node of its own, with a taint",
    ),
    (
        "cpu_shares",
        "the share of a busy CPU comes from the request",
        "write `deploy.resources.reservations.cpus`; it becomes the request",
    ),
    (
        "cpuset",
        "cores are not chosen by number",
        "the kubelet's static CPU manager gives whole cores to pods whose request is a whole number and equals the limit",
    ),
    (
        "credential_spec",
        "it is for Windows",
        "`securityContext.windowsOptions.gmsaCredentialSpec` by hand",
    ),
    (
        "deploy.endpoint_mode",
        "a Service is always found by one address",
        "make the Service headless (`clusterIP: None`) for `dnsrr`",
    ),
    (
        "deploy.mode",
        "`global` and jobs are Swarm's; it becomes a Deployment",
        "a DaemonSet for one on each node, a Job for what ends",
    ),
    (
        "deploy.placement",
        "constraints and preferences are Swarm's",
        "`nodeSelector`, `affinity` or `topologySpreadConstraints` of the pod",
    ),
    (
        "deploy.resources.limits.pids",
        "the number of processes is limited for the whole node",
        "the kubelet's `podPidsLimit`",
    ),
    (
        "deploy.resources.reservations.devices",
        "GPUs and other devices are given by a device plugin",
        "`resources.limits: {nvidia.com/gpu: 1}` with NVIDIA's device plugin",
    ),
    (
        "deploy.resources.reservations.generic_resources",
        "they are Swarm's",
        "extended resources of the nodes, in `resources.limits`",
    ),
    (
        "deploy.restart_policy",
        "pods of a Deployment are always started again, with a growing pause",
        "nothing, if that will do",
    ),
    (
        "deploy.rollback_config",
        "a Deployment does not go back by itself",
        "`kubectl rollout undo deployment NAME`",
    ),
    (
        "deploy.update_config",
        "the order and the pace of an update are the Deployment's",
        "`spec.strategy.rollingUpdate` of the Deployment",
    ),
    (
        "device_cgroup_rules",
        "devices are given by plugins",
        "a device plugin, and its resource in `resources.limits`",
    ),
    (
        "devices",
        "a device of this host is not on another one",
        "a device plugin (for /dev nodes: generic-device-plugin), and its resource in `resources.limits`",
    ),
    (
        "domainname",
        "the domain of a pod is the cluster's",
        "`hostname` and `subdomain` with a headless Service, if a program insists",
    ),
    (
        "external_links",
        "a container of another project is not in the cluster",
        "a Service of type ExternalName, or export that project too",
    ),
    (
        "gpus",
        "GPUs are given by a device plugin",
        "`resources.limits: {nvidia.com/gpu: 1}` with NVIDIA's device plugin",
    ),
    (
        "ipc",
        "memory is not shared with other containers or the host",
        "put both containers into one pod",
    ),
    ("isolation", "it is for Windows", "leave it out"),
    (
        "links",
        "there are no names for one service alone",
        "call the other one by its own name; where the link has a name of its own, make it a network alias of the other service and export again",
    ),
    (
        "logging",
        "the kubelet keeps what a container writes to its output",
        "a collector on each node (Fluent Bit, Alloy, Vector) sends it on",
    ),
    (
        "mac_address",
        "addresses are given by the network plugin",
        "leave it out; a licence that is bound to one needs a machine of its own",
    ),
    (
        "mem_swappiness",
        "containers do not swap unless the kubelet lets them",
        "leave it out, and set the memory limit to what is needed",
    ),
    (
        "memswap_limit",
        "containers do not swap unless the kubelet lets them",
        "leave it out, and set the memory limit to what is needed",
    ),
    (
        "models",
        "models are run by Docker's own runner",
        "serve the model by a Deployment of its own, and name its URL in the environment",
    ),
    (
        "network_mode",
        "pods have an address of their own in the cluster's network",
        "leave it out; `hostNetwork: true` by hand for what must have the host's, one pod of two containers for `service:NAME`",
    ),
    (
        "oom_kill_disable",
        "the kernel ends what is over its limit",
        "leave it out, and raise the memory limit",
    ),
    (
        "oom_score_adj",
        "the kubelet sets it from requests and limits",
        "equal requests and limits of CPU and memory make it the last to go",
    ),
    (
        "pid",
        "processes of the host or of other containers are not seen",
        "`shareProcessNamespace` in one pod, or `hostPID: true` by hand",
    ),
    (
        "pids_limit",
        "the number of processes is limited for the whole node",
        "the kubelet's `podPidsLimit`",
    ),
    (
        "provider",
        "something else than the Engine runs it",
        "find what the provider offers for Kubernetes",
    ),
    (
        "runtime",
        "runtimes are named by the cluster",
        "a RuntimeClass, and `runtimeClassName` of the pod",
    ),
    (
        "storage_opt",
        "the size of the container's own layer is not the driver's matter",
        "`resources.limits: {ephemeral-storage: 1Gi}`",
    ),
    (
        "ulimits",
        "limits of a process are those of the node's container runtime",
        "set them in the runtime or by `ulimit` in the command",
    ),
    (
        "use_api_socket",
        "there is no Docker to talk to",
        "find what the program does with it, and how it does that in Kubernetes",
    ),
    (
        "userns_mode",
        "user namespaces are a field of the pod",
        "`hostUsers: false` for one of its own",
    ),
    (
        "uts",
        "a pod has a host name of its own",
        "leave it out, or `hostNetwork: true` by hand",
    ),
    (
        "volumes_from",
        "a pod does not take over the mounts of another one",
        "name the volumes in both services and export again",
    ),
];

/// Says of every key that is written and does not carry over what is lost.
pub(super) fn remarks(subject: &ServiceSubject<'_>, told: &mut Remarks) {
    for key in &subject.service.workload.keys {
        let whole = key.split('.').next().unwrap_or_default();
        let known = |list: &[&str]| list.contains(&key.as_str()) || list.contains(&whole);
        if known(CARRIED) || known(NOTHING) || key.starts_with("x-") || key.contains(".x-") {
            continue;
        }
        match LOST.iter().find(|(name, ..)| *name == key) {
            Some((_, what, fix)) => told.lost(subject.place(key), *what, *fix),
            None => told.lost(
                subject.place(key),
                "this program does not know what it would be in Kubernetes",
                "look it up, and write it by hand if it is needed",
            ),
        }
    }
}
