//! From the Engine's event messages to [`EngineEvent`]. Pure but for the request's options.

use std::collections::HashMap;

use bollard::{
    models::{EventMessage, EventMessageTypeEnum},
    query_parameters::{EventsOptions, EventsOptionsBuilder},
};

use crate::{
    engine::{ContainerAction, EngineEvent},
    project::{ContainerId, Health, labels},
    units::Timestamp,
};

/// What is asked for. Health checks flood an unfiltered stream with `exec_*` events.
const ACTIONS: [&str; 14] = [
    "create",
    "start",
    "die",
    "stop",
    "destroy",
    "rename",
    "health_status",
    "pause",
    "unpause",
    "oom",
    "kill",
    "update",
    "connect",
    "disconnect",
];

/// The request. Without a label filter, because network events carry no labels of the container;
/// one stream for both kinds keeps their order. What happens between this call and the moment the
/// Engine reads the request is sent too, thanks to `since`.
pub(super) fn options(since: jiff::Timestamp) -> EventsOptions {
    let list = |values: &[&str]| values.iter().map(|&value| value.to_owned()).collect();
    let filters: HashMap<String, Vec<String>> = HashMap::from([
        ("type".to_owned(), list(&["container", "network"])),
        ("event".to_owned(), list(&ACTIONS)),
    ]);
    let since = format!("{}.{:09}", since.as_second(), since.subsec_nanosecond());
    EventsOptionsBuilder::default()
        .since(&since)
        .filters(&filters)
        .build()
}

/// The event, if it is about a container of the project, or about any container's network.
pub(super) fn event(project: &str, message: EventMessage) -> Option<EngineEvent> {
    let actor = message.actor?;
    let attributes = actor.attributes.unwrap_or_default();
    let attribute = |key: &str| attributes.get(key).cloned();
    let action = message.action?;
    let at = Timestamp(jiff::Timestamp::from_nanosecond(i128::from(message.time_nano?)).ok()?);
    match message.typ? {
        EventMessageTypeEnum::CONTAINER => {
            if attribute(labels::PROJECT).as_deref() != Some(project) {
                return None;
            }
            Some(EngineEvent {
                at,
                id: ContainerId(actor.id?),
                name: attribute("name").unwrap_or_default(),
                service: attribute(labels::SERVICE),
                action: container_action(
                    &action,
                    attribute("exitCode").as_deref(),
                    attribute("signal").as_deref(),
                )?,
            })
        }
        EventMessageTypeEnum::NETWORK => {
            if !matches!(action.as_str(), "connect" | "disconnect") {
                return None;
            }
            Some(EngineEvent {
                at,
                id: ContainerId(attribute("container")?),
                name: String::new(),
                service: None,
                action: ContainerAction::Network,
            })
        }
        _ => None,
    }
}

fn container_action(
    action: &str,
    exit_code: Option<&str>,
    signal: Option<&str>,
) -> Option<ContainerAction> {
    Some(match action {
        "create" => ContainerAction::Create,
        "start" => ContainerAction::Start,
        "die" => ContainerAction::Die(exit_code.and_then(|code| code.parse().ok())),
        "stop" => ContainerAction::Stop,
        "destroy" => ContainerAction::Destroy,
        "rename" => ContainerAction::Rename,
        "pause" => ContainerAction::Pause,
        "unpause" => ContainerAction::Unpause,
        "oom" => ContainerAction::Oom,
        "kill" => ContainerAction::Kill(signal.unwrap_or_default().to_owned()),
        "update" => ContainerAction::Update,
        _ => ContainerAction::Health(match action.strip_prefix("health_status: ")? {
            "healthy" => Health::Healthy,
            "unhealthy" => Health::Unhealthy,
            "starting" => Health::Starting,
            _ => return None,
        }),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn seen(kind: &str, action: &str, attributes: &Value) -> Option<EngineEvent> {
        let message = serde_json::from_value(json!({
            "Type": kind, "Action": action, "scope": "local",
            "Actor": {"ID": "abc", "Attributes": attributes},
            "time": 1_767_268_800, "timeNano": 1_767_268_800_250_000_000_i64
        }))
        .unwrap();
        event("shop", message)
    }

    fn container(action: &str) -> Option<ContainerAction> {
        let attributes = json!({
            labels::PROJECT: "shop", labels::SERVICE: "web", "name": "shop-web-1", "exitCode": "137"
        });
        seen("container", action, &attributes).map(|event| event.action)
    }

    #[test]
    fn a_death_tells_who_when_and_with_which_code() {
        let attributes = json!({
            labels::PROJECT: "shop", labels::SERVICE: "web", "name": "shop-web-1", "exitCode": "137"
        });
        assert_eq!(
            seen("container", "die", &attributes),
            Some(EngineEvent {
                at: "2026-01-01T12:00:00.25Z".parse().unwrap(),
                id: ContainerId("abc".into()),
                name: "shop-web-1".into(),
                service: Some("web".into()),
                action: ContainerAction::Die(Some(137)),
            })
        );
    }

    #[test]
    fn health_is_part_of_the_action() {
        assert_eq!(
            container("health_status: unhealthy"),
            Some(ContainerAction::Health(Health::Unhealthy))
        );
        assert_eq!(container("health_status: running"), None);
        assert_eq!(container("exec_start: /check"), None);
    }

    #[test]
    fn other_projects_are_not_heard() {
        let attributes = json!({ labels::PROJECT: "other", "name": "other-web-1" });
        assert_eq!(seen("container", "die", &attributes), None);
        assert_eq!(seen("container", "die", &json!({})), None);
    }

    #[test]
    fn a_network_event_is_about_the_container_it_names() {
        let event = seen(
            "network",
            "disconnect",
            &json!({"container": "def", "name": "net"}),
        );
        let event = event.unwrap();
        assert_eq!(event.id, ContainerId("def".into()));
        assert_eq!(event.action, ContainerAction::Network);
        assert_eq!(seen("network", "destroy", &json!({"name": "net"})), None);
    }
}
