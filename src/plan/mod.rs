//! From a count that is wanted to the steps that reach it. A [`Plan`] is data: `--dry-run` prints
//! it, tests compare it, and the driver runs it.

use std::fmt;

use serde::Serialize;

use crate::project::{ContainerId, Replica};

pub mod blockers;
pub mod selection;

pub use blockers::Blocker;

/// The steps from what is there to a wanted count, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// The service.
    pub service: String,
    /// Replicas that count now.
    pub from: u32,
    /// Replicas wanted.
    pub to: u32,
    /// What is done, in order; steps of one kind run at the same time.
    pub steps: Vec<Step>,
}

/// The most replicas that can be asked for: one machine holds no more, and a slip of the keyboard must
/// not fill it.
pub const MOST: u32 = 1000;

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "step")]
pub enum Step {
    /// A replica on its way out gets traffic again.
    Keep {
        /// Its container.
        id: ContainerId,
        /// Its name.
        name: String,
    },
    /// A stopped replica is started.
    Start {
        /// Its container.
        id: ContainerId,
        /// Its name.
        name: String,
    },
    /// A new replica is made like another one, and started.
    Create {
        /// Its name.
        name: String,
        /// Its number.
        number: u32,
        /// The one it is made like.
        like: ContainerId,
    },
    /// A replica leaves: out of nginx, drained, stopped, removed.
    Remove {
        /// Its container.
        id: ContainerId,
        /// Its name.
        name: String,
        /// Why this one.
        because: selection::RemovalReason,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keep { name, .. } => write!(f, "keep {name}, which was being removed"),
            Self::Start { name, .. } => write!(f, "start {name}, wait until ready, add to nginx"),
            Self::Create { name, .. } => {
                write!(f, "create {name}, wait until ready, add to nginx")
            }
            Self::Remove { name, because, .. } => {
                write!(
                    f,
                    "take {name} ({because}) out of nginx, drain, stop, remove"
                )
            }
        }
    }
}

/// A replica and what the tool is doing with it.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// The observation.
    pub replica: &'a Replica,
    /// Whether it is on its way out but not yet stopped.
    pub draining: bool,
    /// Whether it may serve: running, ready, in nginx.
    pub ready: bool,
    /// Whether something lives inside of it, so that it must stay.
    pub needed: bool,
    /// Whether somebody has stopped it or cut it off: it does not count, and nothing is done with it.
    pub left_alone: bool,
    /// Requests under way in it, where that is known.
    pub in_flight: Option<f64>,
}

impl Candidate<'_> {
    fn counts(&self) -> bool {
        self.replica.state.counts() && !self.left_alone
    }
}

/// Why a plan could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// There is nothing to make a replica like.
    #[error(
        "{service} has no container to clone; run `docker compose up -d --no-deps {service}` first"
    )]
    NothingToClone {
        /// The service.
        service: String,
    },
    /// The only container's name does not end in its number.
    #[error(
        "{name} does not have a name that compose gives to a replica; remove `container_name` and run `docker compose up -d --no-deps {service}`"
    )]
    ForeignName {
        /// The service.
        service: String,
        /// The container's name.
        name: String,
    },
}

/// What to type so that compose makes the replicas of a service anew where they are not as the file
/// says: without the services that it depends on, and with a count, because compose would go back to
/// that of the file.
pub fn anew(service: &str, count: u32) -> String {
    format!("docker compose up -d --no-deps --scale {service}={count} {service}")
}

/// The steps from `standings` (all containers of the service that exist) to `desired` replicas.
/// `pending` replicas are being made already; new numbers start above the highest existing one, and
/// above `above`, up to which names are known to be taken.
pub fn plan(
    service: &str,
    standings: &[Candidate<'_>],
    pending: &[u32],
    above: u32,
    desired: u32,
) -> Result<Plan, PlanError> {
    let counting = standings
        .iter()
        .filter(|s| !s.draining && s.counts())
        .filter(|s| !s.replica.is_being_recreated())
        .count() as u32;
    let from = counting + pending.len() as u32;
    let mut steps = Vec::new();

    let mut missing = desired.saturating_sub(from);
    for standing in selection::keep(standings)
        .into_iter()
        .take(missing as usize)
    {
        missing -= 1;
        steps.push(Step::Keep {
            id: standing.id.clone(),
            name: standing.name.clone(),
        });
    }
    for replica in selection::startable(standings)
        .into_iter()
        .take(missing as usize)
    {
        missing -= 1;
        steps.push(Step::Start {
            id: replica.id.clone(),
            name: replica.name.clone(),
        });
    }
    if missing > 0 {
        let like = selection::template(standings).ok_or_else(|| PlanError::NothingToClone {
            service: service.to_owned(),
        })?;
        let highest = standings
            .iter()
            .map(|s| s.replica.number)
            .chain(pending.iter().copied())
            .max()
            .unwrap_or(0)
            .max(above);
        for number in highest + 1..=highest + missing {
            let name = like
                .sibling_name(number)
                .ok_or_else(|| PlanError::ForeignName {
                    service: service.to_owned(),
                    name: like.name.clone(),
                })?;
            steps.push(Step::Create {
                name,
                number,
                like: like.id.clone(),
            });
        }
    }

    let surplus = from.saturating_sub(desired);
    for (replica, because) in selection::victims(standings)
        .into_iter()
        .take(surplus as usize)
    {
        steps.push(Step::Remove {
            id: replica.id.clone(),
            name: replica.name.clone(),
            because,
        });
    }
    Ok(Plan {
        service: service.to_owned(),
        from,
        to: desired,
        steps,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        project::{ContainerState, Fixed, Health, Limits, labels},
        units::Timestamp,
    };

    pub(crate) fn replica(number: u32) -> Replica {
        Replica {
            id: ContainerId(format!("{number:064x}")),
            name: format!("shop-web-{number}"),
            service: "web".into(),
            number,
            state: ContainerState::Running,
            health: Health::None,
            created: Timestamp::from_unix(1000 + i64::from(number)),
            started: Some(Timestamp::from_unix(1000 + i64::from(number))),
            addresses: [(
                "shop_default".to_owned(),
                std::net::Ipv4Addr::new(172, 18, 0, number as u8 + 1).into(),
            )]
            .into(),
            published: [].into(),
            config_hash: "h1".into(),
            image: "web:latest".into(),
            image_id: "sha256:1".into(),
            limits: Limits::default(),
            pid: 100 + number,
            cgroup_parent: String::new(),
            refers_to: Vec::new(),
            oom_killed: false,
            restart_count: 0,
            exit_code: None,
            fixed: Fixed::default(),
            stop_timeout: None,
            mounts: Vec::new(),
            labels: [
                (labels::CONFIG_HASH.to_owned(), "h1".to_owned()),
                (labels::ONEOFF.to_owned(), "False".to_owned()),
            ]
            .into(),
        }
    }

    pub(crate) fn standing(replica: &Replica) -> Candidate<'_> {
        Candidate {
            replica,
            draining: false,
            ready: true,
            left_alone: false,
            needed: false,
            in_flight: None,
        }
    }

    fn words(plan: &Plan) -> Vec<String> {
        plan.steps.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn new_numbers_follow_the_highest_and_never_fill_a_gap() {
        let replicas = [replica(1), replica(3), replica(5)];
        let standings: Vec<_> = replicas.iter().map(standing).collect();
        let plan = plan("web", &standings, &[6], 0, 6).unwrap();
        assert_eq!(
            words(&plan),
            [
                "create shop-web-7, wait until ready, add to nginx",
                "create shop-web-8, wait until ready, add to nginx"
            ]
        );
    }

    #[test]
    fn a_leaving_replica_is_kept_and_a_stopped_one_started_before_a_new_one_is_made() {
        let mut replicas = [replica(1), replica(2), replica(3)];
        replicas[2].state = ContainerState::Exited;
        let mut standings: Vec<_> = replicas.iter().map(standing).collect();
        standings[1].draining = true;
        let plan = plan("web", &standings, &[], 0, 4).unwrap();
        assert_eq!(
            words(&plan),
            [
                "keep shop-web-2, which was being removed",
                "start shop-web-3, wait until ready, add to nginx",
                "create shop-web-4, wait until ready, add to nginx"
            ]
        );
    }

    #[test]
    fn nothing_to_clone_says_what_to_run() {
        let error = plan("web", &[], &[], 0, 1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "web has no container to clone; run `docker compose up -d --no-deps web` first"
        );
    }

    #[test]
    fn removing_takes_no_more_than_the_surplus() {
        let replicas = [replica(1), replica(2), replica(3)];
        let standings: Vec<_> = replicas.iter().map(standing).collect();
        let plan = plan("web", &standings, &[], 0, 2).unwrap();
        assert_eq!(
            words(&plan),
            ["take shop-web-3 (the newest) out of nginx, drain, stop, remove"]
        );
    }
}
