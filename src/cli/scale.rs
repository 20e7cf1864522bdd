//! `compose-scale scale SERVICE=N…`

use std::{collections::BTreeMap, time::Duration};

use clap::Args;
use indexmap::IndexMap;

use super::{
    Failure, ProjectArgs,
    driver_setup::{self, Actor, DriverOptions, Signals},
    engine, failure, output,
    progress::ScaleProgress,
    ps, state_dir,
};
use crate::{
    compose::{self, Loaded},
    control::{Client, ControlRequest, Reply},
    engine::Engine,
    plan::{MOST, PlanError, blockers},
    project::ContainerState,
    units::Span,
    watch::{RunGoal, bootstrap, service_setup},
};

/// A running `watch` that has not answered so long after its time is stuck.
const GRACE: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(super) struct ScaleArgs {
    /// Service and replica count, for example web=5; web=+1 and web=-1 count from the desired count
    #[arg(required = true, value_name = "SERVICE=N", value_parser = count)]
    counts: Vec<(String, Count)>,
    /// How long `watch` keeps this count whatever the load
    #[arg(long, default_value = "10m", value_name = "SPAN")]
    hold: Span,
    /// How long to wait until the replicas serve
    #[arg(long, default_value = "5m", value_name = "SPAN")]
    timeout: Span,
    /// Do not wait until the replicas serve; needs a running `watch`
    #[arg(long)]
    no_wait: bool,
    /// Show the steps, change nothing
    #[arg(long)]
    dry_run: bool,
}

/// A count as it is written.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Count {
    To(u32),
    /// So many more than are desired, or fewer.
    By(i64),
}

fn count(text: &str) -> Result<(String, Count), String> {
    let wrong = || "expected SERVICE=N, like web=5, web=+1 or web=-1".to_owned();
    let (service, count) = text.split_once('=').ok_or_else(wrong)?;
    let digits = count.trim_start_matches(['+', '-']);
    if service.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(wrong());
    }
    let count = if count == digits {
        count.parse().map(Count::To)
    } else {
        count.parse().map(Count::By)
    };
    Ok((service.to_owned(), count.map_err(|_| wrong())?))
}

/// The counts as numbers of replicas. What is relative counts from `desired`.
fn resolved(
    counts: &[(String, Count)],
    desired: &BTreeMap<String, u32>,
) -> Result<IndexMap<String, u32>, Failure> {
    let mut services = IndexMap::new();
    for (service, count) in counts {
        let count = match *count {
            Count::To(0) => {
                return Err(Failure::Usage(format!(
                    "{service}=0: a service keeps at least one replica, because new ones are its clones; to stop it run `docker compose stop {service}`"
                )));
            }
            Count::To(count) => i64::from(count),
            Count::By(by) => {
                let Some(desired) = desired.get(service).filter(|desired| **desired > 0) else {
                    return Err(Failure::Usage(format!(
                        "{service}={by:+}: {service} has no replica to count from; give a number, like {service}=2"
                    )));
                };
                let count = i64::from(*desired).saturating_add(by);
                if count < 1 {
                    return Err(Failure::Usage(format!(
                        "{service}={by:+}: the desired count is {desired}, and a service keeps at least one replica"
                    )));
                }
                count
            }
        };
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        if count > MOST {
            return Err(Failure::Usage(format!(
                "{service}={count}: expected at most {MOST} replicas"
            )));
        }
        if services.insert(service.clone(), count).is_some() {
            return Err(Failure::Usage(format!("{service} is named twice")));
        }
    }
    Ok(services)
}

/// The desired count of each service: a running `watch` knows it, else it is what runs.
async fn desired(project: &ProjectArgs) -> Result<BTreeMap<String, u32>, Failure> {
    let loaded = project.load(&[]).await;
    let state = match &loaded {
        Ok((_, loaded)) => Some(state_dir(loaded)),
        Err(failure) => project.state_despite(failure),
    };
    if let Some(state) = state
        && let Some(snapshot) = ps::ask(&state).await?
    {
        let services = snapshot.services.into_iter();
        return Ok(services
            .filter_map(|view| Some((view.service, view.desired?)))
            .collect());
    }
    let (_, loaded) = loaded?;
    let mut running = BTreeMap::new();
    for replica in engine()?.list(&loaded.project.name).await? {
        if replica.is_replica() && replica.state == ContainerState::Running {
            *running.entry(replica.service).or_default() += 1;
        }
    }
    Ok(running)
}

pub(super) async fn run(project: &ProjectArgs, args: ScaleArgs) -> Result<(), Failure> {
    let is_relative = |(_, count): &(String, Count)| matches!(count, Count::By(_));
    let counted_from = if args.counts.iter().any(is_relative) {
        desired(project).await?
    } else {
        BTreeMap::new()
    };
    let services = resolved(&args.counts, &counted_from)?;
    let names: Vec<_> = services.keys().cloned().collect();
    let ask = ControlRequest::Scale {
        services: services.clone(),
        hold: args.hold,
        wait: (!args.no_wait).then_some(args.timeout),
    };
    let (request, loaded) = match project.load(&names).await {
        Ok(both) => both,
        Err(failure) => {
            if !args.dry_run
                && let Some(client) = project.ask_despite(&failure, &ask).await
            {
                let wait = if args.no_wait {
                    Duration::ZERO
                } else {
                    args.timeout.0
                };
                return follow(client, wait + GRACE).await;
            }
            return Err(failure);
        }
    };
    check_names(&loaded, &services)?;
    let refused: Vec<_> = services
        .iter()
        .filter_map(|(name, count)| Some((loaded.project.services.get(name)?, *count)))
        .flat_map(|(service, count)| {
            let mut found = service_setup::unroutable(&loaded, service);
            if count > 1 {
                found.extend(service_setup::refusals(&loaded, service));
                found.extend(blockers::too_many(service, count, count));
            }
            found
        })
        .collect();
    if !refused.is_empty() {
        return Err(Failure::Refused(refused));
    }

    if args.dry_run {
        return preview(&request, &loaded, &services).await;
    }
    let locks = match driver_setup::actor(&loaded, &ask).await? {
        Actor::Watch(client) => {
            let wait = if args.no_wait {
                Duration::ZERO
            } else {
                args.timeout.0
            };
            return follow(client, wait + GRACE).await;
        }
        Actor::This(locks) => locks,
    };
    if args.no_wait {
        return Err(Failure::Usage(
            "--no-wait needs a running `compose-scale watch`, which continues the work".into(),
        ));
    }

    let signals = Signals::listen()?;
    let (mut driver, mut notes) = driver_setup::driver(DriverOptions {
        loaded,
        source: Some(request),
        extra: names,
        dry_run: false,
        state: None,
        keeps_state: true,
        locks,
        calls: None,
        reload: None,
        recording: None,
        goal: RunGoal::Scale {
            services,
            hold: args.hold.0,
            timeout: args.timeout.0,
        },
    })
    .await?;
    let mut shown = tokio::task::JoinSet::new();
    shown.spawn(async move {
        let mut progress = ScaleProgress::new();
        while let Some(note) = notes.recv().await {
            progress.show(&note);
        }
        progress.close();
    });
    let outcome = driver
        .run(signals.stop.clone(), signals.abort.clone())
        .await;
    drop(driver);
    shown.join_all().await;
    failure::outcome(outcome)
}

/// The steps that would be taken from what is there now.
async fn preview(
    request: &compose::LoadRequest,
    loaded: &Loaded,
    services: &IndexMap<String, u32>,
) -> Result<(), Failure> {
    let containers = engine()?.list(&loaded.project.name).await?;
    let state = state_dir(loaded);
    for (name, count) in services {
        let Some(service) = loaded.project.services.get(name) else {
            continue;
        };
        let mut lines = match bootstrap::plan(loaded, service, &containers, *count) {
            Ok(plan) => plan.steps.iter().map(ToString::to_string).collect(),
            Err(PlanError::NothingToClone { .. }) => {
                let mut lines = vec![bootstrap::preview(request, loaded, &state, service).await];
                if *count > 1 {
                    lines.push(format!("create {} more like it", count - 1));
                }
                lines
            }
            Err(error) => return Err(Failure::Work(vec![error.to_string()])),
        };
        if lines.is_empty() {
            lines.push("do nothing".into());
        }
        for line in lines {
            output::line(&format!("{name}: would {line}"))?;
        }
    }
    Ok(())
}

fn check_names(loaded: &Loaded, services: &IndexMap<String, u32>) -> Result<(), Failure> {
    for name in services.keys() {
        if !loaded.project.services.contains_key(name) {
            return Err(Failure::Usage(service_setup::no_such_service(loaded, name)));
        }
    }
    Ok(())
}

/// Shows what the running `watch` does until it is done.
async fn follow(mut client: Client, limit: Duration) -> Result<(), Failure> {
    let mut progress = ScaleProgress::new();
    let done = loop {
        match client
            .next_within(limit)
            .await
            .map_err(|error| failure::unheard(&error))?
        {
            Some(Reply::Note(note)) => progress.show(&note),
            Some(Reply::Done { ok, message }) => break Some((ok, message)),
            Some(Reply::Status(_)) => {}
            None => break None,
        }
    };
    progress.close();
    match done {
        Some((true, message)) => {
            if message.is_empty() {
                Ok(())
            } else {
                output::line(&message)
            }
        }
        Some((false, message)) => Err(Failure::Work(
            message.lines().map(ToOwned::to_owned).collect(),
        )),
        None => Err(Failure::Work(vec![
            "the running `watch` ended before the work was done; run the command again".into(),
        ])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_a_service_and_a_number_or_a_change() {
        assert_eq!(count("web=5"), Ok(("web".into(), Count::To(5))));
        assert_eq!(count("web=+1"), Ok(("web".into(), Count::By(1))));
        assert_eq!(count("web=-2"), Ok(("web".into(), Count::By(-2))));
        for wrong in [
            "web", "web=", "=5", "=+1", "web=many", "web=5.5", "web=+", "web=+-1", "web=--1",
            "web= 1",
        ] {
            assert!(count(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_change_counts_from_the_desired_count() {
        let desired = BTreeMap::from([("web".to_owned(), 3), ("idle".to_owned(), 0)]);
        let resolve = |texts: &[&str]| {
            let counts: Vec<_> = texts.iter().map(|text| count(text).unwrap()).collect();
            resolved(&counts, &desired)
                .map(|services| services.into_iter().collect::<Vec<_>>())
                .map_err(|failure| failure.to_string())
        };
        let counts = |count| Ok(vec![("web".to_owned(), count)]);
        assert_eq!(resolve(&["web=+1"]), counts(4));
        assert_eq!(resolve(&["web=-2"]), counts(1));
        assert_eq!(resolve(&["web=7"]), counts(7));
        let refused = |texts: &[&str]| resolve(texts).unwrap_err();
        assert_eq!(
            refused(&["web=-3"]),
            "web=-3: the desired count is 3, and a service keeps at least one replica"
        );
        assert_eq!(
            refused(&["idle=+1"]),
            "idle=+1: idle has no replica to count from; give a number, like idle=2"
        );
        assert_eq!(
            refused(&["web=+99999999999"]),
            "web=4294967295: expected at most 1000 replicas"
        );
        assert!(refused(&["web=+1", "web=+1"]).contains("named twice"));
    }
}
