//! `pause` and `resume`, in the words of a running `watch` and of the command.

use super::service_setup;
use crate::{compose::Loaded, reconcile::Paused};

/// Why scaling of one of these services cannot be paused or resumed.
pub fn refusal(loaded: &Loaded, services: &[String]) -> Option<String> {
    services.iter().find_map(|name| {
        if !loaded.project.services.contains_key(name) {
            return Some(service_setup::no_such_service(loaded, name));
        }
        (!loaded.policies.contains_key(name))
            .then(|| format!("{name} has no policy, so it is not scaled"))
    })
}

/// What is said of a service that is paused.
pub fn paused(service: &str, paused: Paused) -> String {
    format!("{service}: {paused}")
}

/// What is said of a service that is resumed, or was not paused.
pub fn resumed(service: &str, before: Option<Paused>) -> String {
    match before {
        Some(_) => format!("{service}: scaling is resumed"),
        None => format!("{service}: scaling was not paused"),
    }
}
