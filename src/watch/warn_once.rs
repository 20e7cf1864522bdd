//! What goes wrong tick after tick is said once, again when the reason is another, and once more when
//! it is over.

use std::collections::BTreeMap;

/// What a complaint can be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Topic {
    /// The project's containers cannot be listed.
    Listing,
    /// A container cannot be looked at.
    Inspection,
    /// `state.json` cannot be written.
    Memory,
    /// `scaling.log` cannot be written.
    History,
    /// `scaling.log` is too long and cannot be rotated.
    Rotation,
    /// Decisions cannot be recorded.
    Recording,
    /// The lock was removed and cannot be taken again.
    Lock,
    /// The compose file has mistakes.
    File,
    /// `compose.scale.yaml` cannot be written.
    Counts,
    /// The file for the http level of nginx cannot be written.
    HttpLevel,
}

/// What is wrong at present.
#[derive(Debug, Default)]
pub(super) struct WarnOnce(BTreeMap<Topic, String>);

impl WarnOnce {
    /// Notes what is wrong; whether that is news.
    pub(super) fn raise(&mut self, topic: Topic, why: &str) -> bool {
        let before = self.0.insert(topic, why.to_owned());
        before.is_none_or(|before| before != why)
    }

    /// Notes that nothing is wrong; whether that is news.
    pub(super) fn settle(&mut self, topic: Topic) -> bool {
        self.0.remove(&topic).is_some()
    }

    /// What is wrong with it.
    pub(super) fn about(&self, topic: Topic) -> Option<&str> {
        self.0.get(&topic).map(String::as_str)
    }

    /// Everything that is wrong, for `ps`.
    pub(super) fn all(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(topic, why)| match topic {
            Topic::Listing | Topic::Inspection => why.clone(),
            Topic::Memory => format!("holds and history are not saved: {why}"),
            Topic::History => format!("events are not recorded: {why}"),
            Topic::Rotation => format!("scaling.log grows: {why}"),
            Topic::Recording => format!("decisions are not recorded: {why}"),
            Topic::Lock => format!("the project is not locked: {why}"),
            Topic::Counts => format!("compose would reset the count: {why}"),
            Topic::HttpLevel => format!("nginx lacks its settings at http level: {why}"),
            Topic::File => format!("the previous policy stays in effect: {why}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_news_once_and_so_is_its_end() {
        let mut complaints = WarnOnce::default();
        assert!(!complaints.settle(Topic::Memory));
        assert!(complaints.raise(Topic::Memory, "disk full"));
        assert!(!complaints.raise(Topic::Memory, "disk full"));
        assert!(complaints.raise(Topic::Listing, "disk full"));
        assert!(complaints.raise(Topic::Memory, "read-only"));
        assert_eq!(
            complaints.all().collect::<Vec<_>>(),
            ["disk full", "holds and history are not saved: read-only"]
        );
        assert!(complaints.settle(Topic::Memory));
        assert!(!complaints.settle(Topic::Memory));
    }
}
