//! How many machines of a kind it takes, today and at many times today's load, and what that rests on.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::Serialize;
use tracing::warn;

use super::{SimulateArgs, Tried, format::grouped, load::SimulatedLoad, progress::PlayProgress};
use crate::{
    cli::Failure,
    policy::HostReserve,
    project::Limits,
    sim::{
        Bound, Fit, Grown, Growth, MachineKind, MachineResources, Profile, at_once,
        counts_in_replicas,
    },
    units::{Short, Size},
};

/// Which multiples of today's load are told.
const TIMES: [f64; 4] = [1.0, 10.0, 100.0, 1000.0];
/// So many requests a second went through nginx with its log (docs/benchmarks.md): beyond that it needs more than two
/// cores, or company.
const NGINX: f64 = 25_000.0;
/// Marks a load for which there were too few replicas for a while.
pub(super) const SHORT: char = '!';

/// Where a figure of a replica is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FigureSource {
    CpuLimit,
    MemoryLimit,
    Option,
    Recording,
    AssumedCpu,
    AssumedMemory,
}

impl fmt::Display for FigureSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CpuLimit => "its CPU limit",
            Self::MemoryLimit => "its memory limit",
            Self::Option => "--memory",
            Self::Recording => "the most in the recording",
            Self::AssumedCpu => "assumed: it has no CPU limit",
            Self::AssumedMemory => "assumed: it has no memory limit",
        })
    }
}

/// What is asked for, before anything is played.
pub(super) struct SizingQuestion {
    service: String,
    kinds: Vec<(MachineKind, Fit)>,
    replica: MachineResources,
    cores_from: FigureSource,
    memory_from: FigureSource,
    host: HostReserve,
    profile: Profile,
    in_cores: bool,
}

/// The answer, with all that it rests on.
pub(super) struct Sizing {
    pub(super) kinds: Vec<(MachineKind, Fit)>,
    pub(super) replica: MachineResources,
    pub(super) cores_from: FigureSource,
    pub(super) memory_from: FigureSource,
    pub(super) policies: Vec<Sized>,
    pub(super) assumed: Vec<String>,
}

/// One policy's part of it.
pub(super) struct Sized {
    pub(super) name: String,
    pub(super) loads: Vec<Grown>,
    /// Of each kind.
    pub(super) one: Vec<MachineReach>,
    pub(super) remarks: Vec<String>,
}

/// How far one machine of a kind goes, in multiples of today's load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct MachineReach {
    /// As long as each replica has all that it may take; `None` where not even the minimum fits.
    pub(super) lasts: Option<f64>,
    /// When all of its cores are in use.
    pub(super) cores_full: f64,
}

impl SizingQuestion {
    /// `None` where nobody asks. That no replica fits is known before anything is played.
    pub(super) fn of(
        args: &SimulateArgs,
        host: HostReserve,
        profile: &Profile,
        limits: Option<Limits>,
        load: &SimulatedLoad,
        service: Option<&str>,
    ) -> Result<Option<Self>, Failure> {
        if args.sizes.is_empty() {
            return Ok(None);
        }
        let service = service.unwrap_or("the service").to_owned();
        let limits = limits.unwrap_or_default();
        let cores_from = match limits.cpus {
            Some(_) => FigureSource::CpuLimit,
            None => FigureSource::AssumedCpu,
        };
        if limits.cpus.is_none() {
            warn!(
                "{service} has no known CPU limit: {} core per replica is assumed, as the cpu metric does; set `deploy.resources.limits.cpus` for another number",
                Short(profile.cores)
            );
        }
        let measured = load.learnt.as_ref().and_then(|learnt| learnt.memory);
        let (memory, memory_from) = match (limits.memory, args.memory, measured) {
            (Some(limit), ..) => (limit, FigureSource::MemoryLimit),
            (None, Some(told), _) => (told, FigureSource::Option),
            (None, None, Some(most)) => (most, FigureSource::Recording),
            (None, None, None) => {
                warn!(
                    "{service} has no known memory limit: {} per replica is assumed; set another size with --memory",
                    Size(profile.memory)
                );
                (profile.memory, FigureSource::AssumedMemory)
            }
        };
        let mut question = Self {
            service,
            kinds: Vec::new(),
            replica: MachineResources {
                cores: profile.cores,
                memory,
            },
            cores_from,
            memory_from,
            host,
            profile: profile.clone(),
            in_cores: load.in_cores,
        };
        for kind in &args.sizes {
            if question.kinds.iter().any(|(one, _)| one.name == kind.name) {
                return Err(Failure::Usage(format!(
                    "--size {} is given twice, expected a different name for each machine size",
                    kind.name
                )));
            }
            let fit = question.fit(kind)?;
            question.kinds.push((kind.clone(), fit));
        }
        Ok(Some(question))
    }

    fn fit(&self, kind: &MachineKind) -> Result<Fit, Failure> {
        let room = kind.room(self.host);
        let fit = room.holds(self.replica);
        if fit.replicas() > 0 {
            return Ok(fit);
        }
        let what = match fit.bound() {
            Bound::Cpu => format!(
                "it takes {} cores ({}), but of {} only {} are available beside the reserve",
                decimals(self.replica.cores),
                self.cores_from,
                decimals(kind.has.cores),
                decimals(room.cores)
            ),
            Bound::Memory => format!(
                "it takes {} ({}), but of {} only {} are available beside the system and the reserve",
                Size(self.replica.memory),
                self.memory_from,
                Size(kind.has.memory),
                Size(room.memory)
            ),
        };
        Err(Failure::Usage(format!(
            "--size {}: no replica of {} fits on it: {what}; expected a bigger machine, or a smaller limit",
            kind.name, self.service
        )))
    }

    /// Plays each policy at each multiple, with a bar on a terminal.
    pub(super) fn answer(self, tried: &[&Tried]) -> Result<Sizing, Failure> {
        let grown: Vec<_> = tried.iter().map(|one| Growth::of(&one.trial)).collect();
        let span = tried.first().map_or(0, |one| one.trial.span.as_secs());
        let plays: usize = grown.iter().flatten().map(|one| one.plays(&TIMES)).sum();
        let done = Arc::new(AtomicU64::new(0));
        // What one machine lasts for is played around the peak, and counts as one more play.
        let progress = PlayProgress::begin((plays as u64 + 1) * span, &done);
        let mut policies = Vec::new();
        for (one, growth) in tried.iter().zip(&grown) {
            policies.push(match growth {
                Some(growth) => self.policy(one, growth, &done)?,
                None => Sized::nothing(one),
            });
        }
        done.fetch_add(span, Ordering::Relaxed);
        drop(progress);
        let assumed = self.assumed(&policies);
        Ok(Sizing {
            kinds: self.kinds,
            replica: self.replica,
            cores_from: self.cores_from,
            memory_from: self.memory_from,
            policies,
            assumed,
        })
    }

    fn policy(
        &self,
        tried: &Tried,
        growth: &Growth,
        done: &Arc<AtomicU64>,
    ) -> Result<Sized, Failure> {
        let loads = growth.play(&TIMES, done)?;
        let at_peak = growth.peak() / self.profile.capacity() * self.profile.cores;
        let one = at_once(&self.kinds, |(kind, fit)| {
            let cores_full = kind.room(self.host).cores / at_peak;
            Ok::<_, std::io::Error>(MachineReach {
                // A policy that adds replicas too late, or too few, does not make a machine last longer.
                lasts: growth
                    .suffices(fit.replicas(), &loads)?
                    .map(|lasts| lasts.min(cores_full)),
                cores_full,
            })
        });
        let one = one.into_iter().collect::<Result<Vec<_>, _>>()?;
        let policy = &tried.trial.policy;
        let mut remarks = Vec::new();
        for ((kind, fit), reach) in self.kinds.iter().zip(&one) {
            match reach.lasts {
                None => remarks.push(format!(
                    "one {} holds {}, fewer than the minimum of {}",
                    kind.name,
                    fit.replicas(),
                    policy.min
                )),
                Some(lasts) if lasts < 1.0 => {
                    let but = if reach.cores_full > 1.0 {
                        format!(
                            ", though its cores alone would be enough until {}",
                            times(reach.cores_full)
                        )
                    } else {
                        String::new()
                    };
                    let today = grouped(f64::from(loads.first().map_or(0, Grown::needed)));
                    remarks.push(format!(
                        "one {} is not enough today: it holds {} replicas, and the peak takes {today}{but}",
                        kind.name,
                        fit.replicas()
                    ));
                }
                Some(_) => {}
            }
        }
        if let Some(short) = loads.iter().rfind(|one| one.is_short()) {
            remarks.push(format!(
                "{SHORT}: load rises faster than it adds replicas, and more machines do not help against that: at {} {} ran, and {} more were needed for a while",
                times(short.times),
                grouped(f64::from(short.had)),
                grouped(f64::from(short.shortage)),
            ));
        }
        if counts_in_replicas(policy) && loads.iter().any(|one| one.each > 1.0) {
            remarks.push(
                "its steps in replicas are assumed to grow with the load; as written they are too small then"
                    .to_owned(),
            );
        }
        Ok(Sized {
            name: tried.name.clone(),
            loads,
            one,
            remarks,
        })
    }

    /// What the figures rest on, in short lines.
    fn assumed(&self, policies: &[Sized]) -> Vec<String> {
        let mut lines = vec![format!(
            "a replica takes {} cores ({}) and {} ({})",
            decimals(self.replica.cores),
            self.cores_from,
            Size(self.replica.memory),
            self.memory_from
        )];
        let request = self.profile.cores / self.profile.capacity() * 1000.0;
        lines.push(if self.in_cores {
            "the load is measured in used cores; requests are computed from it"
                .to_owned()
        } else {
            format!(
                "a request takes {}ms of a core: a replica with {} concurrent requests ({}/s) uses its whole CPU limit",
                Short(request),
                self.profile.concurrency,
                Short(self.profile.capacity())
            )
        });
        let cpu = self.host.reserve_cpu.filter(|share| share.get() > 0.0);
        let kept = [
            cpu.map(|share| format!("{share} of the cores")),
            (self.host.reserve_memory).map(|part| format!("{part} of memory")),
        ];
        let kept: Vec<_> = kept.into_iter().flatten().collect();
        let system = Size(MachineKind::SYSTEM);
        lines.push(match kept.as_slice() {
            [] => format!(
                "of each machine {system} are for the system and nginx; `host` keeps nothing free"
            ),
            kept => format!(
                "of each machine {} stay free (`host`), and {system} are for the system and nginx",
                kept.join(" and ")
            ),
        });
        lines.push(
            "machines of one size are identical, run nothing else, and take any replica that fits"
                .to_owned(),
        );
        lines.push(
            "×N is N times the load at every moment; `max` does not apply, `min` does, and any number of replicas may start at once"
                .to_owned(),
        );
        if policies
            .iter()
            .flat_map(|one| &one.loads)
            .any(Grown::is_short)
        {
            lines.push(format!(
                "{SHORT}: machines are counted for the replicas that serve the peak at the target (load × cost / target), because fewer ran when load rose"
            ));
        }
        let mut parts: Vec<_> = policies.iter().flat_map(|one| &one.loads).collect();
        parts.retain(|one| one.each > 1.0);
        parts.sort_by(|a, b| a.times.total_cmp(&b.times));
        parts.dedup_by(|a, b| a.times.to_bits() == b.times.to_bits());
        let parts: Vec<_> = parts.iter().map(|one| times(one.times)).collect();
        if let Some((last, before)) = parts.split_last() {
            let which = match before {
                [] => last.clone(),
                before => format!("{} and {last}", before.join(", ")),
            };
            let were = if before.is_empty() { "was" } else { "were" };
            lines.push(format!(
                "{which} {were} simulated with fewer replicas, each standing for several (in a test with a slow and a sudden rise, the result differs from 100 single replicas by at most 10%)"
            ));
        }
        lines.push(
            "not included, because it does not grow with replicas: the database and other backends, disks, the network, nginx's cores"
                .to_owned(),
        );
        let all = policies.iter().flat_map(|one| &one.loads);
        let beyond = all.filter(|one| one.peak > NGINX && !self.in_cores);
        if let Some(first) = beyond.min_by(|a, b| a.times.total_cmp(&b.times)) {
            lines.push(format!(
                "from {} on ({}/s) one nginx of two cores is not enough: it answered about {}/s (docs/benchmarks.md)",
                times(first.times),
                grouped(first.peak),
                grouped(NGINX)
            ));
        }
        lines
    }
}

impl Sized {
    fn nothing(tried: &Tried) -> Self {
        let metrics: Vec<_> = (tried.trial.policy.metrics.iter())
            .map(|metric| metric.name().to_owned())
            .collect();
        let why = if metrics.is_empty() {
            "it has no metric, so its count does not follow the load".to_owned()
        } else if metrics.iter().all(|name| name == "memory") {
            "memory does not follow the load here, so its count does not".to_owned()
        } else {
            "there is no load".to_owned()
        };
        Self {
            name: tried.name.clone(),
            loads: Vec::new(),
            one: Vec::new(),
            remarks: vec![format!("no machines are counted: {why}")],
        }
    }
}

/// With two digits, and never more than there is.
pub(super) fn two_digits(times: f64) -> f64 {
    let scale = 10f64.powf((times.max(1e-9).log10() + 1e-9).floor() - 1.0);
    // What a division leaves below a digit is that digit.
    (times / scale + 1e-6).floor() * scale
}

/// ×0.0016, ×0.71, ×6.3, ×18, ×1,200
pub(super) fn times(times: f64) -> String {
    let short = two_digits(times);
    if short >= 9.95 {
        format!("×{}", grouped(short))
    } else if short >= 0.995 {
        format!("×{}", Short(short))
    } else {
        // As many zeros as there are, and two digits.
        let digits = (1.0 - (short.max(1e-9).log10() + 1e-9).floor()) as usize;
        let text = format!("{short:.digits$}");
        format!("×{}", text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// At most two digits behind the point.
pub(super) fn decimals(number: f64) -> String {
    let text = format!("{number:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiples_have_two_digits_and_are_never_too_high() {
        let all = [
            0.001_67, 0.0629, 0.2, 0.7199, 1.0, 6.37, 9.999, 10.0, 18.9, 129.9, 1000.0, 12_999.0,
        ];
        let told = all.map(times).join(" ");
        assert_eq!(
            told,
            "×0.0016 ×0.062 ×0.2 ×0.71 ×1 ×6.3 ×9.9 ×10 ×18 ×120 ×1,000 ×12,000"
        );
        assert_eq!(
            [0.5, 0.25, 2.0, 1.9, 0.0125].map(decimals).join(" "),
            "0.5 0.25 2 1.9 0.01"
        );
    }
}
