//! Which replica is copied, which comes back, and which one leaves.

use std::{cmp::Reverse, fmt};

use serde::Serialize;

use super::Candidate;
use crate::project::{ContainerState, Health, Replica};

/// Why a replica was chosen to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RemovalReason {
    /// Its configuration or image is older than its siblings'.
    Obsolete,
    /// It cannot serve.
    Unhealthy,
    /// It has not become ready yet.
    NotReady,
    /// It has the fewest requests in flight.
    Idlest,
    /// It came last.
    Newest,
}

impl fmt::Display for RemovalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Obsolete => "obsolete",
            Self::Unhealthy => "unhealthy",
            Self::NotReady => "not ready",
            Self::Idlest => "with the fewest requests in flight",
            Self::Newest => "the newest",
        })
    }
}

/// The configuration that new replicas follow: that of the replica compose made last.
fn current_config<'a>(standings: &[Candidate<'a>]) -> Option<(&'a str, &'a str)> {
    standings
        .iter()
        .map(|s| s.replica)
        // What an unfinished recreate has left counts only where there is nothing else.
        .max_by_key(|r| (!r.is_being_recreated(), r.created, r.number))
        .map(|r| (r.config_hash.as_str(), r.image_id.as_str()))
}

fn is_obsolete(replica: &Replica, current: Option<(&str, &str)>) -> bool {
    current.is_some_and(|now| now != (replica.config_hash.as_str(), replica.image_id.as_str()))
}

/// The replica that a new one is made like: of the current configuration, running before stopped,
/// ready before unready, then the lowest number.
pub fn template<'a>(standings: &[Candidate<'a>]) -> Option<&'a Replica> {
    let current = current_config(standings);
    standings
        .iter()
        .filter(|s| s.replica.state != ContainerState::Removing)
        .filter(|s| !is_obsolete(s.replica, current))
        .min_by_key(|s| {
            (
                s.replica.is_being_recreated(),
                s.replica.state != ContainerState::Running,
                !s.ready,
                s.replica.number,
            )
        })
        .map(|s| s.replica)
}

/// Replicas on their way out that may stay after all, oldest first.
pub fn keep<'a>(standings: &[Candidate<'a>]) -> Vec<&'a Replica> {
    let current = current_config(standings);
    let mut leaving: Vec<_> = standings
        .iter()
        .filter(|s| s.draining && s.replica.state == ContainerState::Running)
        .filter(|s| s.replica.health != Health::Unhealthy && !is_obsolete(s.replica, current))
        .map(|s| s.replica)
        .collect();
    leaving.sort_by_key(|r| r.number);
    leaving
}

/// Stopped replicas of the current configuration, lowest number first: compose too starts those
/// before it makes new ones. One that somebody has stopped is started only with all the others.
pub fn startable<'a>(standings: &[Candidate<'a>]) -> Vec<&'a Replica> {
    let current = current_config(standings);
    let stands_still = !standings.iter().any(Candidate::counts);
    let mut stopped: Vec<_> = standings
        .iter()
        .filter(|s| !s.left_alone || stands_still)
        .map(|s| s.replica)
        .filter(|r| r.state == ContainerState::Exited && !r.is_being_recreated())
        .filter(|r| !is_obsolete(r, current))
        .collect();
    stopped.sort_by_key(|r| r.number);
    stopped
}

/// Replicas that count, in the order in which they leave: obsolete, unhealthy, with the fewest requests
/// in flight where that is known and makes a difference of one request, newest. One that
/// another container lives inside of is not among them.
pub fn victims<'a>(standings: &[Candidate<'a>]) -> Vec<(&'a Replica, RemovalReason)> {
    let current = current_config(standings);
    let mut leaving: Vec<_> = standings
        .iter()
        .filter(|s| !s.draining && !s.needed && s.counts())
        .filter(|s| !s.replica.is_being_recreated())
        .map(|s| {
            let because = if is_obsolete(s.replica, current) {
                RemovalReason::Obsolete
            } else if s.replica.health == Health::Unhealthy {
                RemovalReason::Unhealthy
            } else if !s.ready {
                RemovalReason::NotReady
            } else {
                RemovalReason::Newest
            };
            (s, because)
        })
        .collect();
    // One that is new has had no time to get any.
    let busy =
        |standing: &Candidate<'_>| standing.in_flight.map_or(0, |known| known.round() as u64);
    // Two with one number exist: whoever was made last is the newest.
    leaving.sort_by_key(|(s, because)| {
        let replica = s.replica;
        (
            *because,
            busy(s),
            Reverse((replica.number, replica.created)),
        )
    });
    let newest = leaving
        .iter()
        .filter(|(_, because)| *because == RemovalReason::Newest);
    let most = newest.map(|(s, _)| busy(s)).max().unwrap_or(0);
    leaving
        .into_iter()
        .map(|(s, because)| {
            let idlest = because == RemovalReason::Newest && busy(s) < most;
            (
                s.replica,
                if idlest {
                    RemovalReason::Idlest
                } else {
                    because
                },
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{replica, standing},
        *,
    };

    #[test]
    fn obsolete_leaves_first_then_unhealthy_then_the_newest() {
        let mut replicas = [replica(1), replica(2), replica(3), replica(4)];
        replicas[0].config_hash = "old".into();
        replicas[1].health = Health::Unhealthy;
        let standings: Vec<_> = replicas.iter().map(standing).collect();
        let order: Vec<_> = victims(&standings)
            .into_iter()
            .map(|(r, why)| (r.number, why))
            .collect();
        assert_eq!(
            order,
            [
                (1, RemovalReason::Obsolete),
                (2, RemovalReason::Unhealthy),
                (4, RemovalReason::Newest),
                (3, RemovalReason::Newest)
            ]
        );
    }

    #[test]
    fn among_equals_the_one_with_the_fewest_requests_leaves_first() {
        let replicas = [replica(1), replica(2), replica(3), replica(4)];
        let mut standings: Vec<_> = replicas.iter().map(standing).collect();
        for (standing, known) in standings.iter_mut().zip([3.2, 0.4, 0.1, 3.4]) {
            standing.in_flight = Some(known);
        }
        let order: Vec<_> = victims(&standings)
            .into_iter()
            .map(|(r, why)| (r.number, why))
            .collect();
        assert_eq!(
            order,
            [
                (3, RemovalReason::Idlest),
                (2, RemovalReason::Idlest),
                (4, RemovalReason::Newest),
                (1, RemovalReason::Newest)
            ]
        );
    }

    #[test]
    fn a_replica_that_others_live_in_never_leaves() {
        let replicas = [replica(1), replica(2)];
        let mut standings: Vec<_> = replicas.iter().map(standing).collect();
        standings[1].needed = true;
        let order: Vec<_> = victims(&standings).iter().map(|(r, _)| r.number).collect();
        assert_eq!(order, [1]);
    }

    #[test]
    fn the_template_is_running_ready_current_and_not_in_the_middle_of_a_recreate() {
        let mut replicas = [replica(1), replica(2), replica(3), replica(4)];
        replicas[0].state = ContainerState::Exited;
        replicas[3].name = "0123456789ab_shop-web-4".into();
        replicas[3].state = ContainerState::Created;
        let mut standings: Vec<_> = replicas.iter().map(standing).collect();
        standings[1].ready = false;
        assert_eq!(template(&standings).map(|r| r.number), Some(3));
        assert_eq!(template(&standings[..1]).map(|r| r.number), Some(1));
        assert_eq!(
            template(&standings[3..]).and_then(|r| r.sibling_name(5)),
            Some("shop-web-5".into()),
            "what is left of a recreate, where there is nothing else"
        );
    }

    #[test]
    fn new_replicas_follow_the_configuration_made_last() {
        let mut replicas = [replica(1), replica(2)];
        replicas[1].config_hash = "new".into();
        let standings: Vec<_> = replicas.iter().map(standing).collect();
        assert_eq!(template(&standings).map(|r| r.number), Some(2));
    }
}
