//! `x-autoscale`: the project's settings and the services' policies, with the project's defaults
//! filled in.

use indexmap::IndexMap;

use super::{
    error::Mistakes,
    tree::{KeyPath, Map, Node, Spot, Value},
};
use crate::policy::{
    Policy, Settings,
    validate::{self, Problem, SERVICE_KEYS},
};

const KEY: &str = "x-autoscale";
/// Keys of a service whose maps are merged with the project's; the rest is taken as a whole.
const MERGED_KEYS: [&str; 3] = ["behavior", "drain", "tolerance"];

/// Reads the settings and the policy of every service that has one.
pub(crate) fn read(root: &Node, mistakes: &mut Mistakes) -> (Settings, IndexMap<String, Policy>) {
    let project = root.get(KEY);
    let mut settings = Settings::default();
    if let Some(node) = project {
        match validate::settings(&node.to_json()) {
            Ok(read) => settings = read,
            Err(problems) => note(problems, |_| (node, KeyPath::of([KEY])), mistakes),
        }
    }
    let mut policies = IndexMap::new();
    let services = root.get("services").and_then(Node::as_map);
    for (name, service) in services.into_iter().flatten() {
        let Some(own) = service.get(KEY) else {
            continue;
        };
        let merged = over_defaults(project, own);
        match validate::for_compose(&merged.to_json()) {
            Ok(policy) => {
                policies.insert(name.clone(), policy);
            }
            Err(problems) => {
                let place = |problem: &Problem| {
                    let reach = |node| follow(node, &problem.path).2;
                    match project.filter(|project| reach(project) > reach(own)) {
                        Some(project) => (project, KeyPath::of([KEY])),
                        None => (own, KeyPath::of(["services", name, KEY])),
                    }
                };
                note(problems, place, mistakes);
            }
        }
    }
    (settings, policies)
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
fn follow(node: &Node, path: &[String]) -> (Spot, Vec<String>, usize) {
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
        Value::Map(map) => map.clone(),
        Value::Null => Map::new(),
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
    Node::new(own.at, Value::Map(map))
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
