//! Who is told of which note.

use crate::{
    policy::{
        Notify,
        notify::{Events, TROUBLE},
    },
    reconcile::{Level, Note, What},
};

/// Whether a target wants to hear of a note, whose event has this name.
pub(super) fn wants(notify: &Notify, note: &Note, event: &str) -> bool {
    if !notify.services.is_empty() && !notify.services.contains(&note.service) {
        return false;
    }
    match &notify.events {
        Events::All => note.what.is_history(),
        Events::Some(names) => {
            let is_meant =
                |name: &String| name == event || (name == TROUBLE && is_trouble(&note.what));
            // What was said before is not said again.
            let is_news = note.what.level() != Level::Debug
                && !matches!(
                    note.what,
                    What::NotScaling { again: true, .. } | What::Unserved { again: true, .. }
                );
            is_news && names.iter().any(is_meant)
        }
    }
}

fn is_trouble(what: &What) -> bool {
    matches!(what.level(), Level::Warn | Level::Error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        policy::notify::{EVENTS, Hook, Target},
        reconcile::By,
        units::Moment,
    };

    fn notify(events: Events, services: &[&str]) -> Notify {
        Notify {
            target: Target::Command(Hook {
                argv: vec!["page".into()],
                timeout: Hook::TIMEOUT,
            }),
            events,
            services: services.iter().map(ToString::to_string).collect(),
        }
    }

    fn note(what: What) -> Note {
        Note {
            at: Moment::from_unix(0),
            service: "web".into(),
            what,
        }
    }

    fn died() -> Note {
        note(What::Died {
            replica: "web-1".into(),
            exit_code: Some(1),
            oom: false,
        })
    }

    fn failed(again: bool) -> Note {
        note(What::Failed {
            replica: "web-1".into(),
            why: String::new(),
            log: Vec::new(),
            retry_in: 1.0,
            again,
        })
    }

    fn wants(notify: &Notify, note: &Note) -> bool {
        let value = serde_json::to_value(note).unwrap();
        super::wants(notify, note, value["event"].as_str().unwrap())
    }

    #[test]
    fn the_names_are_those_of_scaling_log() {
        let wrong = r#"{"time": "2026-01-01T00:00:00Z", "service": "web", "event": "wrong"}"#;
        let error = serde_json::from_str::<Note>(wrong).unwrap_err().to_string();
        let (_, names) = error.split_once("expected one of ").unwrap();
        let mut names: Vec<_> = names.split('`').skip(1).step_by(2).collect();
        let mut known = EVENTS.to_vec();
        names.sort_unstable();
        known.sort_unstable();
        assert_eq!(known, names);
    }

    #[test]
    fn without_a_wish_one_is_told_of_changes_and_of_trouble() {
        let usual = notify(Events::default(), &[]);
        assert!(wants(&usual, &died()));
        assert!(wants(&usual, &failed(false)));
        assert!(!wants(&usual, &failed(true)), "it has been said");
        assert!(wants(&usual, &note(What::NothingServes)));
        assert!(!wants(&usual, &note(What::Resumed { by: By::Hand })));
        assert!(!wants(&usual, &note(What::Founding)));
    }

    #[test]
    fn who_names_events_and_services_is_told_of_no_others() {
        let some = notify(Events::Some(vec!["resumed".into()]), &[]);
        assert!(wants(&some, &note(What::Resumed { by: By::Hand })));
        assert!(!wants(&some, &died()));
        let other = notify(Events::All, &["api"]);
        assert!(!wants(&other, &died()));
        let all = notify(Events::All, &["api", "web"]);
        assert!(wants(&all, &died()) && wants(&all, &failed(true)));
        let ready = note(What::Creating {
            replica: "web-2".into(),
        });
        assert!(!wants(&all, &ready), "it is not in scaling.log");
    }
}
