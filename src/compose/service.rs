//! From the merged tree of a service to the model: the fields with a value of their own.

use std::collections::BTreeMap;

use docker_compose_types as spec;
use indexmap::IndexMap;

use super::{
    edit_count, environment,
    long_forms::{self, ValueKind},
    merge, ports_networks_volumes,
    reader::ServiceReader,
    text_parsers,
    tree::{KeyPath, Node, NodeValue},
};
use crate::{
    project::{BuildSource, Dependency, Healthcheck, LifecycleHook, Limits, Service},
    units::{Bytes, Span},
};

impl ServiceReader<'_> {
    /// Reads one service.
    pub(crate) fn service(&mut self, name: &str, node: &Node) -> Service {
        let path = KeyPath::of(["services", name]);
        let build = node.get("build").is_some();
        let image = self
            .text(node, &path, "image")
            .filter(|image| !image.is_empty());
        let (environment, from_files) = self.environment(node).unzip();
        let mut service = Service {
            name: name.to_owned(),
            image: image.or_else(|| build.then(|| format!("{}-{name}", self.project))),
            build,
            build_source: node.get("build").map(build_source),
            container_name: self.text(node, &path, "container_name"),
            scale: self.scale(node, &path),
            count_keys: edit_count::keys(node),
            ports: self.ports(node, &path),
            expose: self.expose(node, &path),
            healthcheck: self.healthcheck(node, &path),
            network_mode: self
                .text(node, &path, "network_mode")
                .filter(|mode| !mode.is_empty()),
            volumes: self.volumes(node, &path),
            depends_on: self.depends_on(node, &path),
            profiles: self.texts(node, &path, "profiles"),
            stop_signal: self.text(node, &path, "stop_signal"),
            stop_grace_period: self.span(node, &path, "stop_grace_period"),
            post_start: self.hooks(node, &path, "post_start"),
            pre_stop: self.hooks(node, &path, "pre_stop"),
            limits: self.limits(node, &path),
            pre_start: node
                .get("pre_start")
                .is_some_and(|hooks| hooks.as_list() != Some(&[])),
            mac_address: node.get("mac_address").is_some_and(|mac| !mac.is_blank()),
            labels: self.labels(node, &path),
            environment,
            workload: self.workload(node, from_files.unwrap_or_default()),
            variables: self.made_of(node),
            restart: ports_networks_volumes::restart(node),
            links: ports_networks_volumes::links(node),
            hashable: environment::is_hashable(node),
            ..Service::default()
        };
        self.networks(&mut service, node, &path);
        self.uploads(&mut service, node, &path);
        self.details(node, &path);
        service
    }

    fn text(&mut self, node: &Node, path: &KeyPath, key: &str) -> Option<String> {
        let node = node.get(key)?;
        if node.as_text().is_none() {
            self.wrong(node, &path.key(key), "a text (put it in quotes)");
        }
        node.as_text().map(ToOwned::to_owned)
    }

    /// `KEY=value` pairs, from a list or a map; the last of a name counts. `KEY` alone has no value.
    fn pairs(
        &mut self,
        node: &Node,
        path: &KeyPath,
        key: &str,
    ) -> IndexMap<String, Option<String>> {
        let Some(node) = node.get(key) else {
            return IndexMap::new();
        };
        let path = path.key(key);
        if !matches!(node.value, NodeValue::List(_) | NodeValue::Map(_)) {
            self.wrong(node, &path, "a map, or a list of KEY=value");
            return IndexMap::new();
        }
        let mut pairs = IndexMap::new();
        for entry in merge::into_entries(node.clone()) {
            let Some(text) = entry.scalar() else {
                self.wrong(&entry, &path, "a text, a number or a boolean as value");
                continue;
            };
            let (key, value) = text
                .split_once('=')
                .map_or((text.as_str(), None), |(key, value)| (key, Some(value)));
            pairs.insert(key.to_owned(), value.map(ToOwned::to_owned));
        }
        pairs
    }

    fn labels(&mut self, node: &Node, path: &KeyPath) -> BTreeMap<String, String> {
        let pairs = self.pairs(node, path, "labels");
        pairs
            .into_iter()
            .map(|(key, value)| (key, value.unwrap_or_default()))
            .collect()
    }

    fn span(&mut self, node: &Node, path: &KeyPath, key: &str) -> Option<Span> {
        let text = self.text(node, path, key)?;
        let span = text_parsers::duration(&text);
        if let (None, Some(node)) = (span, node.get(key)) {
            self.wrong(
                node,
                &path.key(key),
                "a duration with its unit, like 30s or 1m30s",
            );
        }
        span
    }

    fn count(&mut self, node: &Node, path: &KeyPath) -> Option<u32> {
        let number = long_forms::cast(node, ValueKind::Whole, self.warnings).ok();
        let number = number
            .and_then(|number| number.as_u64())
            .and_then(|number| u32::try_from(number).ok());
        if number.is_none() {
            self.wrong(node, path, "a whole number of at least 0");
        }
        number
    }

    fn scale(&mut self, node: &Node, path: &KeyPath) -> Option<u32> {
        let mut read = |node: Option<&Node>, path: KeyPath| self.count(node?, &path);
        let scale = read(node.get("scale"), path.key("scale"));
        let deploy = node.get("deploy").filter(|deploy| !deploy.is_null());
        let replicas = read(
            deploy.and_then(|deploy| deploy.get("replicas")),
            path.key("deploy").key("replicas"),
        );
        if let Some(deploy) = deploy
            && deploy.as_map().is_none()
        {
            self.wrong(deploy, &path.key("deploy"), "a map");
        }
        if let (Some(scale), Some(replicas)) = (scale, replicas)
            && scale != replicas
        {
            let at = node.spot_of(&["deploy", "replicas"]);
            let message =
                "can't set distinct values on 'scale' and 'deploy.replicas'; write one of them";
            self.conflicts.push((at, path.clone(), message.to_owned()));
        }
        scale.or(replicas)
    }

    fn healthcheck(&mut self, node: &Node, path: &KeyPath) -> Option<Healthcheck> {
        let (node, path) = (node.get("healthcheck")?, path.key("healthcheck"));
        let keys = [
            ("test", ValueKind::TextOrTexts),
            ("interval", ValueKind::Text),
            ("timeout", ValueKind::Text),
            ("retries", ValueKind::Whole),
            ("start_period", ValueKind::Text),
            ("start_interval", ValueKind::Text),
            ("disable", ValueKind::Flag),
        ];
        let check: spec::Healthcheck =
            long_forms::read(node, &path, &keys, self.mistakes, self.warnings)?;
        let test = match check.test {
            None => Vec::new(),
            Some(spec::HealthcheckTest::Single(line)) => vec!["CMD-SHELL".to_owned(), line],
            Some(spec::HealthcheckTest::Multiple(words)) => words,
        };
        let kind = test.first().map(String::as_str);
        if !matches!(kind, None | Some("NONE" | "CMD" | "CMD-SHELL")) {
            let at = node.spot_of(&["test"]);
            let found = kind.unwrap_or_default();
            let message = format!("found {found:?} in front, expected CMD, CMD-SHELL or NONE");
            self.mistakes.add(at, &path.key("test"), message);
        }
        let healthcheck = Healthcheck {
            interval: self.span(node, &path, "interval"),
            timeout: self.span(node, &path, "timeout"),
            retries: (node.get("retries").is_some())
                .then(|| u32::try_from(check.retries).unwrap_or(u32::MAX)),
            start_period: self.span(node, &path, "start_period"),
            start_interval: self.span(node, &path, "start_interval"),
            test,
        };
        let off = check.disable || healthcheck.test.first().is_some_and(|kind| kind == "NONE");
        (!off).then_some(healthcheck)
    }

    fn depends_on(&mut self, node: &Node, path: &KeyPath) -> IndexMap<String, Dependency> {
        let mut all = IndexMap::new();
        if let Some(node) = node.get("depends_on") {
            let path = path.key("depends_on");
            let mut named = node.clone();
            let short = named.as_list().is_some();
            merge::keys_to_map(&mut named);
            if named.as_map().is_none() {
                self.wrong(node, &path, "a list or a map of services");
            }
            for (name, entry) in named.as_map().into_iter().flatten() {
                let dependency = if short {
                    Some(Dependency::started(false))
                } else {
                    self.dependency(entry, &path.key(name))
                };
                all.extend(dependency.map(|dependency| (name.clone(), dependency)));
            }
        }
        for (name, restart) in self.implied(node, path) {
            all.entry(name)
                .or_insert_with(|| Dependency::started(restart));
        }
        all
    }

    fn dependency(&mut self, node: &Node, path: &KeyPath) -> Option<Dependency> {
        let keys = [
            ("condition", ValueKind::Text),
            ("restart", ValueKind::Flag),
            ("required", ValueKind::Flag),
        ];
        let entry: spec::DependsCondition =
            long_forms::read(node, path, &keys, self.mistakes, self.warnings)?;
        let known = [
            "service_started",
            "service_healthy",
            "service_completed_successfully",
        ];
        if !known.contains(&entry.condition.as_str()) {
            let message = format!("found {:?}, expected {}", entry.condition, known.join(", "));
            let at = node.spot_of(&["condition"]);
            self.mistakes.add(at, &path.key("condition"), message);
            return None;
        }
        Some(Dependency {
            condition: entry.condition,
            restart: entry.restart.unwrap_or(false),
            required: entry.required.unwrap_or(true),
        })
    }

    /// Services that other keys refer to: compose starts those first as well. Whoever is in their
    /// namespaces is restarted with them.
    fn implied(&mut self, node: &Node, path: &KeyPath) -> Vec<(String, bool)> {
        let before_colon = |text: &str| text.split(':').next().unwrap_or_default().to_owned();
        let mut names: Vec<(String, bool)> = self
            .texts(node, path, "links")
            .iter()
            .map(|link| match link.split_once(':') {
                Some((service, alias)) if !alias.contains(':') => (service.to_owned(), true),
                _ => (link.clone(), true),
            })
            .collect();
        for key in ["network_mode", "ipc", "pid", "uts", "cgroup"] {
            let other = node.get(key).and_then(Node::as_text);
            let other = other.and_then(|text| text.strip_prefix("service:"));
            names.extend(other.map(|other| (other.to_owned(), true)));
        }
        let from = self.texts(node, path, "volumes_from");
        names.extend(
            from.iter()
                .filter(|from| !from.starts_with("container:"))
                .map(|from| (before_colon(from), false)),
        );
        names
    }

    fn hooks(&mut self, node: &Node, path: &KeyPath, key: &str) -> Vec<LifecycleHook> {
        let items = self.items(node, path, key);
        let path = path.key(key);
        items
            .iter()
            .enumerate()
            .filter_map(|(at, item)| self.hook(item, &path.item(at)))
            .collect()
    }

    fn hook(&mut self, node: &Node, path: &KeyPath) -> Option<LifecycleHook> {
        if node.as_map().is_none() {
            self.wrong(node, path, "a map with a command");
            return None;
        }
        let privileged = node.get("privileged").is_some_and(|flag| {
            long_forms::cast(flag, ValueKind::Flag, self.warnings)
                .is_ok_and(|flag| flag.as_bool() == Some(true))
        });
        let environment = self.pairs(node, path, "environment");
        Some(LifecycleHook {
            command: self.command(node, path)?,
            user: self.text(node, path, "user"),
            privileged,
            working_dir: self.text(node, path, "working_dir"),
            environment: environment
                .into_iter()
                .map(|(key, value)| match value {
                    Some(value) => format!("{key}={value}"),
                    None => key,
                })
                .collect(),
        })
    }

    fn command(&mut self, node: &Node, path: &KeyPath) -> Option<Vec<String>> {
        let path = path.key("command");
        let Some(node) = node.get("command") else {
            self.mistakes
                .add(node.at, &path, "is required: what to run");
            return None;
        };
        if let Some(line) = node.as_text() {
            return match text_parsers::split(line) {
                Ok(words) => Some(words),
                Err(expected) => {
                    self.wrong(node, &path, expected);
                    None
                }
            };
        }
        let words: Option<Vec<_>> = node.as_list().and_then(|items| {
            let texts = items
                .iter()
                .map(|item| item.as_text().map(ToOwned::to_owned));
            texts.collect()
        });
        if words.is_none() {
            self.wrong(node, &path, "a text or a list of texts");
        }
        words
    }

    fn limits(&mut self, node: &Node, path: &KeyPath) -> Limits {
        let below = ["deploy", "resources", "limits"];
        let mut deploy = Some(node);
        let mut deploy_path = path.clone();
        for key in below {
            deploy = deploy.and_then(|node| node.get(key));
            deploy_path = deploy_path.key(key);
        }
        let keys = [("cpus", ValueKind::Word), ("memory", ValueKind::Text)];
        let limits: spec::Limits = deploy
            .filter(|node| !node.is_null())
            .and_then(|node| {
                long_forms::read(node, &deploy_path, &keys, self.mistakes, self.warnings)
            })
            .unwrap_or_default();
        let mut cpus = limits
            .cpus
            .and_then(|text| self.number(&text, deploy?.get("cpus")?, &deploy_path.key("cpus")));
        let mut memory = limits
            .memory
            .and_then(|text| self.size(&text, deploy?.get("memory")?, &deploy_path.key("memory")));
        let own_cpus = node.get("cpus").and_then(|node| {
            self.number(&node.scalar().unwrap_or_default(), node, &path.key("cpus"))
        });
        let own_memory = node.get("mem_limit").and_then(|node| {
            self.size(
                &node.scalar().unwrap_or_default(),
                node,
                &path.key("mem_limit"),
            )
        });
        self.one_value(deploy, path, ("cpus", own_cpus), ("limits.cpus", cpus));
        let bytes = |size: Option<Bytes>| size.map(|size| size.0 as f64);
        let own = ("mem_limit", bytes(own_memory));
        self.one_value(deploy, path, own, ("limits.memory", bytes(memory)));
        let pids = |node: Option<&Node>| node?.scalar()?.parse::<f64>().ok();
        let own = ("pids_limit", pids(node.get("pids_limit")));
        let other = (
            "limits.pids",
            pids(deploy.and_then(|node| node.get("pids"))),
        );
        self.one_value(deploy, path, own, other);
        let reserved =
            (node.get("deploy")).and_then(|node| node.get("resources")?.get("reservations"));
        let size =
            |node: Option<&Node>| text_parsers::size(&node?.scalar()?).map(|size| size as f64);
        let own = ("mem_reservation", size(node.get("mem_reservation")));
        let other = size(reserved.and_then(|node| node.get("memory")));
        self.one_value(reserved, path, own, ("reservations.memory", other));
        memory = memory.or(own_memory);
        // 0 is compose's way to say "no limit".
        cpus = cpus.or(own_cpus).filter(|cpus| *cpus > 0.0);
        Limits {
            cpus: cpus.or_else(|| quota(node)),
            memory: memory.filter(|memory| memory.0 > 0),
        }
    }

    /// Notes that a value stands at two places and differs, when the second place is there at all.
    fn one_value(
        &mut self,
        deploy: Option<&Node>,
        path: &KeyPath,
        (key, own): (&str, Option<f64>),
        (below, other): (&str, Option<f64>),
    ) {
        if let Some(deploy) = deploy
            && own.is_some()
            && own != Some(other.unwrap_or(0.0))
        {
            let message = format!(
                "can't set distinct values on '{key}' and 'deploy.resources.{below}'; write one of them"
            );
            self.conflicts.push((deploy.at, path.clone(), message));
        }
    }

    fn number(&mut self, text: &str, node: &Node, path: &KeyPath) -> Option<f64> {
        let number = text.parse().ok().filter(|n: &f64| n.is_finite());
        if number.is_none() {
            self.wrong(node, path, "a number of cores, like 0.5");
        }
        number
    }

    fn size(&mut self, text: &str, node: &Node, path: &KeyPath) -> Option<Bytes> {
        // -1 is the Engine's word for "no limit"; as a text it is none. Compose makes nothing of a
        // number with a fraction or an exponent.
        if matches!(node.value, NodeValue::Int(..0) | NodeValue::Float(_)) {
            return Some(Bytes(0));
        }
        let size = text_parsers::size(text).map(Bytes);
        if size.is_none() {
            self.wrong(node, path, "a size like 512m or 1.5g");
        }
        size
    }
}

/// A quota of a period is a number of cores too.
fn quota(node: &Node) -> Option<f64> {
    let number = |key| node.get(key)?.scalar()?.parse::<f64>().ok();
    let period = number("cpu_period").filter(|period| *period > 0.0);
    let cpus = number("cpu_quota")? / period.unwrap_or(100_000.0);
    (cpus > 0.0).then_some(cpus)
}

/// What `build` names: a folder alone, or each part by its key.
fn build_source(build: &Node) -> BuildSource {
    let part = |key: &str| Some(build.get(key)?.as_text()?.to_owned());
    BuildSource {
        context: build
            .as_text()
            .map(ToOwned::to_owned)
            .or_else(|| part("context"))
            .unwrap_or_else(|| ".".to_owned()),
        dockerfile: part("dockerfile"),
        inline: part("dockerfile_inline"),
        target: part("target"),
    }
}
