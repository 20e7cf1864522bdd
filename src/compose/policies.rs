//! `x-autoscale`: the project's settings and the services' policies, with the project's defaults
//! filled in.

use indexmap::IndexMap;

use super::{
    error::Mistakes,
    tree::{KeyPath, Map, Node, NodeValue, SourceLocation},
};
use crate::policy::{
    CustomSource, Metric, Policy, Settings,
    validate::{self, Problem, SERVICE_KEYS},
};

const KEY: &str = "x-autoscale";
/// Keys of a service whose maps are merged with the project's; the rest is taken as a whole.
const MERGED_KEYS: [&str; 3] = ["behavior", "drain", "tolerance"];

/// Reads the settings and the policy of every service that has one.
pub(crate) fn read(root: &Node, mistakes: &mut Mistakes) -> (Settings, IndexMap<String, Policy>) {
    let project = root.get(KEY);
    let mut settings = Settings::default();
    let mut settings_are_read = true;
    if let Some(node) = project {
        match validate::settings(&node.to_json()) {
            Ok(read) => {
                note(
                    unheard_of(&read, root),
                    |_| (node, KeyPath::of([KEY])),
                    mistakes,
                );
                settings = read;
            }
            Err(problems) => {
                settings_are_read = false;
                note(problems, |_| (node, KeyPath::of([KEY])), mistakes);
            }
        }
    }
    let mut policies = IndexMap::new();
    let services = root.get("services").and_then(Node::as_map);
    for (name, service) in services.into_iter().flatten() {
        let Some(own) = service.get(KEY) else {
            continue;
        };
        let merged = over_defaults(project, own);
        let place = |problem: &Problem| {
            let reach = |node| follow(node, &problem.path).2;
            match project.filter(|project| reach(project) > reach(own)) {
                Some(project) => (project, KeyPath::of([KEY])),
                None => (own, KeyPath::of(["services", name, KEY])),
            }
        };
        match validate::for_compose(&merged.to_json()) {
            Ok(policy) => {
                note(nowhere(&policy, services), place, mistakes);
                if settings_are_read {
                    note(unlogged(&policy, &settings), place, mistakes);
                }
                policies.insert(name.clone(), policy);
            }
            Err(problems) => note(problems, place, mistakes),
        }
    }
    (settings, policies)
}

/// Reads a policy that stands by itself, or below `x-autoscale`.
pub(crate) fn alone(root: &Node, mistakes: &mut Mistakes) -> Option<Policy> {
    let (node, path) = match root.get(KEY) {
        Some(node) => (node, KeyPath::of([KEY])),
        None => (root, KeyPath::default()),
    };
    match validate::for_compose(&node.to_json()) {
        Ok(policy) => Some(policy),
        Err(problems) => {
            note(problems, |_| (node, path.clone()), mistakes);
            None
        }
    }
}

/// Commands that are to be run in a service that is not in the file.
fn nowhere(policy: &Policy, services: Option<&Map>) -> Vec<Problem> {
    let commands = policy
        .metrics
        .iter()
        .enumerate()
        .filter_map(|(at, metric)| {
            let Some(CustomSource::Command(command)) = &metric.custom()?.source else {
                return None;
            };
            Some((at, command.service.as_ref()?))
        });
    let all: Vec<_> = services.into_iter().flat_map(Map::keys).cloned().collect();
    let all = all.join(", ");
    let known = |name: &str| services.is_some_and(|services| services.contains_key(name));
    commands
        .filter(|(_, service)| !known(service))
        .map(|(at, service)| {
            let at = at.to_string();
            let path = ["metrics", &at, "custom", "command", "service"];
            Problem {
                path: path.map(str::to_owned).to_vec(),
                message: format!("found `{service}`, expected a service of the project: {all}"),
            }
        })
        .collect()
}

/// Services that somebody is to be told of and that are not in the file.
fn unheard_of(settings: &Settings, root: &Node) -> Vec<Problem> {
    let services = root.get("services").and_then(Node::as_map);
    let all: Vec<_> = services.into_iter().flat_map(Map::keys).cloned().collect();
    let all = all.join(", ");
    let known = |name: &str| services.is_some_and(|services| services.contains_key(name));
    let named = settings.notify.iter().enumerate().flat_map(|(at, one)| {
        let services = one.services.iter().enumerate();
        services.map(move |(nth, name)| (at, nth, name))
    });
    named
        .filter(|(.., name)| !known(name))
        .map(|(at, nth, name)| Problem {
            path: vec![
                "notify".into(),
                at.to_string(),
                "services".into(),
                nth.to_string(),
            ],
            message: format!("found `{name}`, expected a service of the project: {all}"),
        })
        .collect()
}

/// Metrics that are read from a log that nobody has asked for.
fn unlogged(policy: &Policy, settings: &Settings) -> Vec<Problem> {
    let missing = settings.nginx.logs.is_none();
    let read = |(_, metric): &(usize, &Metric)| missing && metric.traffic_window().is_some();
    let metrics = policy.metrics.iter().enumerate().filter(read);
    metrics
        .map(|(at, metric)| Problem {
            path: vec!["metrics".into(), at.to_string(), metric.name().into()],
            message: "is read from nginx's log, and there is no place for one; add at the top level, with a mount of that directory where nginx is a container, `x-autoscale: {nginx: {logs: {dir: ./nginx/logs, inside: /var/log/compose-scale}}}`".into(),
        })
        .collect()
}

/// Notes problems where their values were written.
fn note<'n>(
    problems: Vec<Problem>,
    place: impl Fn(&Problem) -> (&'n Node, KeyPath),
    mistakes: &mut Mistakes,
) {
    for problem in problems {
        let (node, mut path) = place(&problem);
        let (at, below, _) = follow(node, &problem.path);
        path.0.extend(below);
        mistakes.add(at, &path, problem.message);
    }
}

/// Follows a problem's path as far as it leads: the place it ends at, the path with list positions
/// in brackets, and how many steps were taken.
fn follow(node: &Node, path: &[String]) -> (SourceLocation, Vec<String>, usize) {
    let mut here = Some(node);
    let mut at = node.at;
    let mut shown = Vec::new();
    let mut taken = 0;
    for step in path {
        let list = here.and_then(Node::as_list);
        here = match list {
            Some(items) => step.parse().ok().and_then(|at: usize| items.get(at)),
            None => here.and_then(|node| node.get(step)),
        };
        shown.push(match list {
            Some(_) => format!("[{step}]"),
            None => step.clone(),
        });
        if let Some(node) = here {
            at = node.at;
            taken += 1;
        }
    }
    (at, shown, taken)
}

/// A service's own values over those that the project gives for all.
fn over_defaults(project: Option<&Node>, own: &Node) -> Node {
    let Some(defaults) = project.and_then(Node::as_map) else {
        return own.clone();
    };
    let mut map = match &own.value {
        NodeValue::Map(map) => map.clone(),
        NodeValue::Null => Map::new(),
        _ => return own.clone(),
    };
    for (key, node) in defaults {
        if !SERVICE_KEYS.contains(&key.as_str()) || key == "port" {
            continue;
        }
        match map.get_mut(key) {
            None => {
                map.insert(key.clone(), node.clone());
            }
            Some(own) if MERGED_KEYS.contains(&key.as_str()) => fill(own, node),
            Some(_) => {}
        }
    }
    Node::new(own.at, NodeValue::Map(map))
}

fn fill(own: &mut Node, defaults: &Node) {
    if let (Some(own), Some(defaults)) = (own.as_map_mut(), defaults.as_map()) {
        for (key, node) in defaults {
            match own.get_mut(key) {
                None => {
                    own.insert(key.clone(), node.clone());
                }
                Some(own) => fill(own, node),
            }
        }
    }
}
