//! Each event in words.

use std::fmt;

use super::{EventKind, Initiator};
use crate::reconcile::Paused;

fn plural(count: u64) -> &'static str {
    if count == 1 { "" } else { "s" }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scale {
                from,
                to,
                message,
                by,
                ..
            } => match by {
                Initiator::Policy => write!(f, "scaling: {message}"),
                Initiator::Hand | Initiator::Compose | Initiator::Clock => {
                    write!(f, "scaling {from} → {to}, {message}")
                }
            },
            Self::NotScaling { message, .. } => write!(f, "not scaling: {message}"),
            Self::Scaled { from, to, seconds } => {
                write!(f, "scaled {from} → {to} in {seconds:.1}s")
            }
            Self::Creating { replica } => write!(f, "creating {replica}"),
            Self::Starting { replica } => write!(f, "starting {replica}"),
            Self::Founding => f.write_str("no replica is left: creating a first one"),
            Self::Founded { replica, how } => write!(f, "created {replica} {how}"),
            Self::Ready { replica, seconds } => write!(f, "{replica} is ready after {seconds:.1}s"),
            Self::Routed { servers } if servers.is_empty() => {
                f.write_str("nginx sends requests to no replica")
            }
            Self::Routed { servers } => {
                write!(f, "nginx sends requests to {}", servers.join(", "))
            }
            Self::Draining { replica, because } => {
                write!(f, "draining {replica} ({because})")
            }
            Self::Kept { replica } => write!(f, "keeping {replica}, which was being removed"),
            Self::DrainTimedOut { replica, seconds } => write!(
                f,
                "{replica} still had requests in flight after {seconds:.0}s; stopping it anyway"
            ),
            Self::Removed { replica, seconds } => {
                write!(f, "removed {replica} after {seconds:.1}s")
            }
            Self::Failed {
                replica,
                why,
                log,
                retry_in,
                ..
            } => {
                write!(f, "{replica} failed: {why}")?;
                if *retry_in > 0.0 {
                    write!(f, "; next attempt in {retry_in:.0}s")?;
                }
                if !log.is_empty() {
                    f.write_str("; its last log lines:")?;
                    for line in log {
                        write!(f, "\n    {line}")?;
                    }
                }
                Ok(())
            }
            Self::Failing { attempts, at_most } => write!(
                f,
                "{attempts} attempts in a row failed: further attempts follow one at a time, up to {at_most:.0}s apart, and are logged only when one succeeds or fails in another way"
            ),
            Self::Recovered { attempts: 1 } => {
                f.write_str("replicas start again, after one failed attempt")
            }
            Self::Recovered { attempts } => {
                write!(f, "replicas start again, after {attempts} failed attempts")
            }
            Self::Died {
                replica,
                exit_code,
                oom,
            } => {
                write!(f, "{replica} died")?;
                if let Some(code) = exit_code {
                    write!(f, " with exit code {code}")?;
                }
                if *oom {
                    f.write_str(" (out of memory)")?;
                }
                Ok(())
            }
            Self::Lost { replica, why } => write!(f, "{replica} {why}; it gets no requests"),
            Self::NothingServes => f.write_str("no replica can serve: every request fails"),
            Self::Unserved { requests, .. } => write!(
                f,
                "nginx had no replica to send {requests} request{} to and answered 502 (\"no live upstreams\")",
                plural(*requests)
            ),
            Self::ServedAgain { requests, seconds } => write!(
                f,
                "nginx has a replica for each request again, after {requests} request{} in {seconds:.0}s",
                plural(*requests)
            ),
            Self::RouteFailed { why } => write!(f, "{why}"),
            Self::Unread { metric, why } => write!(
                f,
                "{metric} cannot be read: {why}; no replica is removed until it can"
            ),
            Self::ReadAgain {
                metric,
                failures: 1,
            } => write!(f, "{metric} can be read again, after one failed reading"),
            Self::ReadAgain { metric, failures } => {
                write!(
                    f,
                    "{metric} can be read again, after {failures} failed readings"
                )
            }
            Self::Held {
                replicas,
                until: Some(until),
            } => write!(f, "held at {replicas} until {}", until.clock()),
            Self::Held {
                replicas,
                until: None,
            } => write!(f, "held at {replicas}"),
            Self::Paused {
                directions, until, ..
            } => Paused {
                directions: *directions,
                until: *until,
            }
            .fmt(f),
            Self::Resumed {
                by: Initiator::Clock,
            } => f.write_str("scaling is resumed: the pause is over"),
            Self::Resumed { .. } => f.write_str("scaling is resumed"),
            Self::Standstill { why } | Self::Refused { why } => f.write_str(why),
            Self::Unfinished { container, fix } => write!(
                f,
                "{container} is left from a recreate that compose did not finish, and is ignored; {fix}"
            ),
            Self::StepFailed { step, why } => {
                // The Engine's error may begin with it.
                let why = why.strip_prefix(&format!("{step}: ")).unwrap_or(why);
                write!(f, "{step}: {why}; trying again")
            }
        }
    }
}
