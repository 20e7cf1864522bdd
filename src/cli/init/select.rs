//! Which services are scaled, and within what: from the command line, an earlier run, or answers.

use super::{InitArgs, InitSite, prompt, say};
use crate::{
    cli::Failure,
    init::{Eligibility, ScalingCandidate, manifest::Choice},
};

/// The services to scale: as named, as recorded, as answered, or where only one thing can be meant.
pub(super) fn choices(
    site: &InitSite,
    args: &InitArgs,
    offers: &[ScalingCandidate],
    asks: bool,
) -> Result<Vec<Choice>, Failure> {
    let recorded = recorded(site)?;
    let mut choices = recorded.clone().unwrap_or_default();
    let mut named = args.services.clone();
    named.extend(args.ports.iter().filter_map(|(service, _)| service.clone()));
    if named.is_empty() && recorded.is_none() {
        tell(offers);
        let obvious: Vec<_> = offers.iter().filter(|offer| offer.obvious).collect();
        named = obvious.iter().map(|offer| offer.service.clone()).collect();
        if asks
            && offers
                .iter()
                .any(|offer| !matches!(offer.verdict, Eligibility::Unfit { .. }))
        {
            named = prompt::services(&named, |name| refused(offers, name))?;
        }
        if named.is_empty() {
            return Err(nothing(offers));
        }
    } else if named.is_empty() {
        named = choices
            .iter()
            .map(|choice| choice.service.clone())
            .collect();
    }
    let mut all = named.clone();
    all.dedup();
    for name in all {
        let offer = offers.iter().find(|offer| offer.service == name);
        let before = choices.iter().position(|choice| choice.service == name);
        let service = site.base.project.services.get(&name);
        let written = service.and_then(|service| service.scale);
        let scale = site.counts.get(&name).copied().or(written).unwrap_or(1);
        let mut choice = match before {
            Some(at) => choices[at].clone(),
            None => first(&name, scale, args),
        };
        choice.min = args.min.unwrap_or(choice.min);
        choice.max = args.max.unwrap_or(choice.max);
        choice.cpu = args.cpu.clone().unwrap_or(choice.cpu);
        for (service, port) in &args.ports {
            match service {
                Some(service) if *service != name => {}
                None if named.len() > 1 => {
                    return Err(Failure::Usage(format!(
                        "--port {port}: of which service? --port {name}={port}"
                    )));
                }
                _ => choice.port = Some(*port),
            }
        }
        let can_be = offer.is_some_and(|offer| !matches!(offer.verdict, Eligibility::Unfit { .. }));
        if asks && before.is_none() && can_be {
            let limited = service.is_some_and(|service| service.limits.cpus.is_some());
            prompt::numbers(&mut choice, offer.and_then(|offer| offer.port), limited)?;
        }
        if let Some(offer) = offer.filter(|offer| offer.behind_nginx)
            && choice.port.or(offer.port).is_none()
            && !asks
        {
            return Err(Failure::Usage(format!(
                "{name}: the compose file does not say on which port it listens: --port {name}=PORT"
            )));
        }
        if choice.min > choice.max {
            return Err(Failure::Usage(format!(
                "{name}: the minimum {} is above the maximum {}",
                choice.min, choice.max
            )));
        }
        match before {
            Some(at) => choices[at] = choice,
            None => choices.push(choice),
        }
    }
    Ok(choices)
}

/// What an earlier `init` was told, of services that are still there; `None` where that is nothing.
fn recorded(site: &InitSite) -> Result<Option<Vec<Choice>>, Failure> {
    let Some(record) = &site.record else {
        return Ok(None);
    };
    let project = &site.base.project;
    let mut choices = record.services.clone();
    if let Some(off) = choices
        .iter()
        .find(|choice| project.disabled_services.contains(&choice.service))
    {
        return Err(Failure::Usage(format!(
            "{0}: its profile is disabled, but `init` has set it up: give --profile again",
            off.service
        )));
    }
    choices.retain(|choice| {
        let is_there = project.services.contains_key(&choice.service);
        if !is_there {
            say(&format!(
                "{}: no longer a service of this project; removed from compose.scale.yaml",
                choice.service
            ));
        }
        is_there
    });
    Ok(Some(choices).filter(|choices| !choices.is_empty()))
}

/// What is proposed for a service: two, so that a crash is not noticed, and room to grow.
fn first(name: &str, scale: u32, args: &InitArgs) -> Choice {
    let max = args
        .max
        .unwrap_or_else(|| (2 * scale).clamp(4, 1000))
        .max(args.min.unwrap_or(1));
    Choice {
        service: name.to_owned(),
        min: 2.min(max),
        max,
        cpu: "60%".into(),
        port: None,
    }
}

/// What is wrong with the name of a service that somebody has typed.
fn refused(offers: &[ScalingCandidate], name: &str) -> Option<String> {
    let Some(offer) = offers.iter().find(|offer| offer.service == name) else {
        let all: Vec<_> = offers.iter().map(|offer| offer.service.as_str()).collect();
        return Some(format!(
            "there is no service {name}; this project has {}",
            all.join(", ")
        ));
    };
    match &offer.verdict {
        Eligibility::Unfit { what, fix } => Some(format!("{name}: {what}; {fix}")),
        Eligibility::Fit | Eligibility::Doubtful(_) => None,
    }
}

/// Says of each service whether it can be scaled.
fn tell(offers: &[ScalingCandidate]) {
    for offer in offers {
        let name = &offer.service;
        match &offer.verdict {
            Eligibility::Fit if offer.obvious => say(&format!("{name}: can be scaled")),
            Eligibility::Fit => say(&format!(
                "{name}: not selected: it has no port; if several replicas can share the work, add --service {name}"
            )),
            Eligibility::Doubtful(why) => say(&format!("{name}: not selected: {why}")),
            Eligibility::Unfit { what, .. } => say(&format!("{name}: cannot be scaled: {what}")),
        }
    }
}

/// No service is named, and none is meant.
fn nothing(offers: &[ScalingCandidate]) -> Failure {
    let could: Vec<_> = offers
        .iter()
        .filter(|offer| !matches!(offer.verdict, Eligibility::Unfit { .. }))
        .map(|offer| format!("--service {}", offer.service))
        .collect();
    if could.is_empty() {
        let fixes = offers.iter().filter_map(|offer| match &offer.verdict {
            Eligibility::Unfit { fix, .. } => Some(format!("{}: {fix}", offer.service)),
            _ => None,
        });
        let mut lines =
            vec!["no service of this project can be scaled yet; to change that:".to_owned()];
        lines.extend(fixes);
        return Failure::Work(lines);
    }
    Failure::Usage(format!("name the service to scale: {}", could.join(" or ")))
}
