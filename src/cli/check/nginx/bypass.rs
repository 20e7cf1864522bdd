//! What goes past the upstream, and what cuts requests short.

use std::{collections::BTreeSet, time::Duration};

use super::super::{CheckCode, CheckReport};
use crate::{
    policy::Policy,
    project::{Replica, Service},
    proxy::inspect::{Configuration, NameResolution, by_place},
    units::Span,
};

/// For so long an address may be wrong before that is worth a word.
const STALE: Duration = Duration::from_secs(30);
/// Requests that may take so long hold an old worker for as long.
const LONG: Duration = Duration::from_secs(600);
/// What compose gives a container to end where the file says nothing.
const GRACE: Span = Span::seconds(10);

/// Names and addresses that lead to replicas of a service, but for its own name.
pub(super) fn others(replicas: &[&Replica], service: Option<&Service>) -> BTreeSet<String> {
    let mut others = BTreeSet::new();
    for replica in replicas {
        others.insert(replica.name.to_ascii_lowercase());
        others.extend(replica.addresses.values().map(ToString::to_string));
        for address in replica.published.values() {
            others.insert(format!("127.0.0.1:{}", address.port()));
            others.insert(format!("localhost:{}", address.port()));
        }
    }
    for network in service.into_iter().flat_map(|one| one.networks.values()) {
        others.extend(network.aliases.iter().map(|one| one.to_ascii_lowercase()));
    }
    if let Some(service) = service {
        others.remove(&service.name.to_ascii_lowercase());
    }
    others
}

/// Requests that get to replicas without the upstream.
pub(super) fn check_bypasses(
    service: &str,
    others: &BTreeSet<String>,
    directory: &str,
    configuration: &Configuration,
    report: &mut CheckReport,
) {
    for detour in by_place(configuration.bypasses(service, others, directory)) {
        let (place, target) = (&detour.place, &detour.target);
        let (what, fix) = match detour.by {
            NameResolution::Pass => (
                format!(
                    "{place}: `{target}` bypasses the upstream: only one replica gets requests, and they fail when it is removed"
                ),
                format!("write `{}` there", detour.to_upstream(service)),
            ),
            NameResolution::Server => (
                format!(
                    "{place}: `server {target}` is resolved only when nginx starts: that upstream does not get new replicas, and keeps removed ones"
                ),
                format!("let the directive that names that upstream name {service} itself"),
            ),
            NameResolution::Variable => (
                format!(
                    "{place}: the variable is `{target}`, which nginx looks up in DNS and not in its upstream: replicas get requests before they are ready and while they drain"
                ),
                format!(
                    "set the variable to `{}`, without a port in it or after it: then nginx uses the upstream",
                    detour.target_of(service)
                ),
            ),
            NameResolution::Request => (
                format!(
                    "{place}: with a variable in it nginx looks `{target}` up in DNS and not in its upstream: replicas get requests before they are ready and while they drain"
                ),
                format!("write `{}` there", detour.to_upstream(service)),
            ),
        };
        report.warn(CheckCode::NginxBypass, service, what, fix);
        report.at(&place.file, place.line);
    }
}

/// Variables that name a host which nginx must look up.
pub(super) fn check_resolvers(
    routed: &[&str],
    configuration: &Configuration,
    report: &mut CheckReport,
) {
    let known = routed
        .iter()
        .map(|name| name.to_ascii_lowercase())
        .collect();
    let mut told = BTreeSet::new();
    for one in configuration.resolvers(&known) {
        let (pass, host) = (&one.pass, &one.host);
        if !told.insert((pass.clone(), host.clone())) {
            continue;
        }
        match (&one.at, one.valid) {
            (None, _) => {
                report.warn(
                    CheckCode::NginxResolver,
                    "nginx",
                    format!("{pass}: the variable may be `{host}`, but there is no `resolver`: every such request gets 502"),
                    "add `resolver 127.0.0.11 valid=10s;` at http level (in a container), or use the name of an upstream",
                );
                report.at(&pass.file, pass.line);
            }
            (Some(at), valid) if one.is_dockers && valid.is_none_or(|valid| valid > STALE) => {
                let long = valid.map_or_else(
                    || "10m, the TTL of Docker's DNS".to_owned(),
                    |valid| Span(valid).to_string(),
                );
                report.warn(
                    CheckCode::NginxResolver,
                    "nginx",
                    format!("{at}: the address of `{host}` is cached for {long}, but Docker may give it to another container before that"),
                    "write `resolver 127.0.0.11 valid=10s;`",
                );
                report.at(&at.file, at.line);
            }
            _ => {}
        }
    }
}

/// Times that are shorter than the requests.
pub(super) fn check_timeouts(
    service: &str,
    policy: &Policy,
    grace: Option<Span>,
    configuration: &Configuration,
    report: &mut CheckReport,
) {
    let drain = policy.drain.timeout;
    let patience = configuration.patience_for(service);
    let grace = grace.unwrap_or(GRACE);
    if let Some((patience, place)) = &patience
        && *patience > grace.0
        && *patience > Duration::from_secs(60)
    {
        report.hint(
            CheckCode::GraceShort,
            service,
            format!(
                "{place}: a request may take {}, but a replica that compose stops in a deploy has only {grace} to finish it",
                Span(*patience)
            ),
            format!("give {service} `stop_grace_period: {}`", Span(*patience)),
        );
        report.at(&place.file, place.line);
    }
    if let Some((patience, place)) = &patience
        && *patience > drain.0
        && *patience > Duration::from_secs(60)
    {
        report.warn(
            CheckCode::DrainShort,
            service,
            format!(
                "{place}: a request may take {}, but a replica is drained for {drain} only: longer requests are cut off",
                Span(*patience)
            ),
            format!(
                "`x-autoscale: {{drain: {{timeout: {}}}}}`, or a shorter time there",
                Span(*patience)
            ),
        );
        report.at(&place.file, place.line);
    }
    match configuration.shutdown_timeout() {
        Some((limit, place)) if limit < drain.0 => {
            report.warn(
                CheckCode::NginxShutdownTimeout,
                service,
                format!(
                    "{place}: every reload cuts off requests after {}, before `drain.timeout` ({drain}) is over",
                    Span(limit)
                ),
                format!("worker_shutdown_timeout {}s;", drain.0.as_secs().max(1)),
            );
            report.at(&place.file, place.line);
        }
        None => {
            if let Some((patience, place)) = patience.filter(|(patience, _)| *patience >= LONG) {
                report.hint(
                    CheckCode::NginxShutdownTimeout,
                    service,
                    format!(
                        "{place}: a request may keep an old nginx worker running for {} after a reload, and every change of replicas reloads nginx",
                        Span(patience)
                    ),
                    format!(
                        "set `worker_shutdown_timeout {}s;` at the top of nginx.conf, if such requests may be cut off then",
                        patience.as_secs()
                    ),
                );
                report.at(&place.file, place.line);
            }
        }
        Some(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(main: &str, http: &str) -> Configuration {
        Configuration::parse(&format!(
            "# configuration file /etc/nginx/nginx.conf:\n{main}\nhttp {{ {http} }}\n"
        ))
    }

    fn times_with(grace: Option<Span>, main: &str, http: &str) -> Vec<String> {
        let mut report = CheckReport::new("shop");
        let configuration = configuration(main, http);
        check_timeouts(
            "web",
            &Policy::default(),
            grace,
            &configuration,
            &mut report,
        );
        report.codes()
    }

    fn times(main: &str, http: &str) -> Vec<String> {
        times_with(Some(Span::seconds(3600)), main, http)
    }

    #[test]
    fn a_replica_that_compose_stops_has_as_long_as_its_longest_request() {
        let long = "proxy_read_timeout 5m; location / { proxy_pass http://web; }";
        let told = |grace: Option<u64>| times_with(grace.map(Span::seconds), "", long);
        assert_eq!(told(None), ["hint grace-short", "warning drain-short"]);
        assert_eq!(told(Some(30)), ["hint grace-short", "warning drain-short"]);
        assert_eq!(told(Some(300)), ["warning drain-short"]);
        let usual = "location / { proxy_pass http://web; }";
        assert_eq!(times_with(None, "", usual), [""; 0]);
    }

    #[test]
    fn times_that_cut_requests_short_are_told_and_the_defaults_are_not() {
        let pass = "location / { proxy_pass http://web; }";
        assert_eq!(times("", pass), [""; 0]);
        assert_eq!(
            times("worker_shutdown_timeout 10s;", pass),
            ["warning nginx-shutdown-timeout"]
        );
        assert_eq!(times("worker_shutdown_timeout 1m;", pass), [""; 0]);
        assert_eq!(
            times("", &format!("proxy_read_timeout 5m; {pass}")),
            ["warning drain-short"]
        );
        assert_eq!(
            times("", &format!("proxy_read_timeout 1h; {pass}")),
            ["warning drain-short", "hint nginx-shutdown-timeout"]
        );
    }

    #[test]
    fn a_resolver_that_is_missing_or_believes_too_long_is_told() {
        let told = |resolver: &str| {
            let mut report = CheckReport::new("shop");
            let http = format!(
                "{resolver} server {{ set $to api:80; location / {{ proxy_pass http://$to; }} }}"
            );
            check_resolvers(&["web"], &configuration("", &http), &mut report);
            report.codes()
        };
        assert_eq!(told(""), ["warning nginx-resolver"]);
        assert_eq!(told("resolver 127.0.0.11;"), ["warning nginx-resolver"]);
        assert_eq!(told("resolver 127.0.0.11 valid=10s;"), [""; 0]);
    }

    #[test]
    fn a_detour_has_its_place_and_what_to_write() {
        let mut report = CheckReport::new("shop");
        let http =
            "upstream site { server web:80; } server { location / { proxy_pass http://site; } }";
        let (others, ours) = (BTreeSet::new(), "/etc/nginx/upstreams");
        check_bypasses("web", &others, ours, &configuration("", http), &mut report);
        let [finding] = report.findings.as_slice() else {
            panic!("{report}");
        };
        assert_eq!(finding.file.as_deref(), Some("/etc/nginx/nginx.conf"));
        assert_eq!(finding.line, Some(2));
        assert!(finding.message.contains("`server web:80`"), "{report}");
    }
}
