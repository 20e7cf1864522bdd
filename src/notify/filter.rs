//! Who is told of which note.

use crate::{
    policy::{
        Notify,
        notify::{EventFilter, TROUBLE},
    },
    reconcile::{EventKind, EventLevel, ScalingEvent},
};

/// Whether a target wants to hear of a note, whose event has this name.
pub(super) fn wants(notify: &Notify, note: &ScalingEvent, event: &str) -> bool {
    if !notify.services.is_empty() && !notify.services.contains(&note.service) {
        return false;
    }
    match &notify.events {
        EventFilter::All => note.what.is_history(),
        EventFilter::Some(names) => {
            let is_meant =
                |name: &String| name == event || (name == TROUBLE && is_trouble(&note.what));
            // What was said before is not said again.
            let is_news = note.what.level() != EventLevel::Debug
                && !matches!(
                    note.what,
                    EventKind::NotScaling { again: true, .. }
                        | EventKind::Unserved { again: true, .. }
                );
            is_news && names.iter().any(is_meant)
        }
    }
}

fn is_trouble(what: &EventKind) -> bool {
    matches!(what.level(), EventLevel::Warn | EventLevel::Error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        policy::notify::{EVENTS, NotifyCommand, NotifyTarget},
        reconcile::Initiator,
        units::Timestamp,
    };

    fn notify(events: EventFilter, services: &[&str]) -> Notify {
        Notify {
            target: NotifyTarget::Command(NotifyCommand {
                argv: vec!["page".into()],
                timeout: NotifyCommand::TIMEOUT,
            }),
            events,
            services: services.iter().map(ToString::to_string).collect(),
        }
    }

    fn note(what: EventKind) -> ScalingEvent {
        ScalingEvent {
            at: Timestamp::from_unix(0),
            service: "web".into(),
            what,
        }
    }

    fn died() -> ScalingEvent {
        note(EventKind::Died {
            replica: "web-1".into(),
            exit_code: Some(1),
            oom: false,
        })
    }

    fn failed(again: bool) -> ScalingEvent {
        note(EventKind::Failed {
            replica: "web-1".into(),
            why: String::new(),
            log: Vec::new(),
            retry_in: 1.0,
            again,
        })
    }

    fn wants(notify: &Notify, note: &ScalingEvent) -> bool {
        let value = serde_json::to_value(note).unwrap();
        super::wants(notify, note, value["event"].as_str().unwrap())
    }

    #[test]
    fn the_names_are_those_of_scaling_log() {
        let wrong = r#"{"time": "2026-01-01T00:00:00Z", "service": "web", "event": "wrong"}"#;
        let error = serde_json::from_str::<ScalingEvent>(wrong)
            .unwrap_err()
            .to_string();
        let (_, names) = error.split_once("expected one of ").unwrap();
        let mut names: Vec<_> = names.split('`').skip(1).step_by(2).collect();
        let mut known = EVENTS.to_vec();
        names.sort_unstable();
        known.sort_unstable();
        assert_eq!(known, names);
    }

    #[test]
    fn without_a_wish_one_is_told_of_changes_and_of_trouble() {
        let usual = notify(EventFilter::default(), &[]);
        assert!(wants(&usual, &died()));
        assert!(wants(&usual, &failed(false)));
        assert!(!wants(&usual, &failed(true)), "it has been said");
        assert!(wants(&usual, &note(EventKind::NothingServes)));
        assert!(!wants(
            &usual,
            &note(EventKind::Resumed {
                by: Initiator::Hand
            })
        ));
        assert!(!wants(&usual, &note(EventKind::Founding)));
    }

    #[test]
    fn who_names_events_and_services_is_told_of_no_others() {
        let some = notify(EventFilter::Some(vec!["resumed".into()]), &[]);
        assert!(wants(
            &some,
            &note(EventKind::Resumed {
                by: Initiator::Hand
            })
        ));
        assert!(!wants(&some, &died()));
        let other = notify(EventFilter::All, &["api"]);
        assert!(!wants(&other, &died()));
        let all = notify(EventFilter::All, &["api", "web"]);
        assert!(wants(&all, &died()) && wants(&all, &failed(true)));
        let ready = note(EventKind::Creating {
            replica: "web-2".into(),
        });
        assert!(!wants(&all, &ready), "it is not in scaling.log");
    }
}
