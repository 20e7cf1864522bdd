//! Machines of a kind: how many replicas one holds, and how many it takes for all of them.

use std::{fmt, str::FromStr};

use serde::Serialize;

use crate::{
    policy,
    units::{Bytes, Short, Size},
};

/// A kind of machine, written `small=2cpu,4GiB`.
#[derive(Debug, Clone, PartialEq)]
pub struct MachineKind {
    /// What it is called.
    pub name: String,
    /// What it has.
    pub has: MachineResources,
}

/// Cores and memory: what a machine has, or what a replica takes of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MachineResources {
    /// In cores.
    pub cores: f64,
    /// In bytes.
    pub memory: Bytes,
}

/// Which of the two runs out first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// Its cores.
    Cpu,
    /// Its memory.
    Memory,
}

/// How many replicas one machine holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fit {
    /// As far as its cores go.
    pub by_cpu: u32,
    /// As far as its memory goes.
    pub by_memory: u32,
}

impl MachineKind {
    /// What the system, the Engine and nginx take of each machine's memory.
    pub const SYSTEM: Bytes = super::simulated_host::SYSTEM;
    /// More than any machine has: a mistake.
    const MOST_CORES: f64 = 4096.0;

    /// What replicas may take of it, where the policy keeps so much of a machine free.
    pub fn room(&self, kept: policy::HostReserve) -> MachineResources {
        let free = kept.reserve_cpu.map_or(0.0, |share| share.ratio().min(1.0));
        let reserve = kept
            .reserve_memory
            .map_or(0, |part| part.of(self.has.memory).0);
        let memory = self.has.memory.0.saturating_sub(Self::SYSTEM.0);
        MachineResources {
            cores: self.has.cores * (1.0 - free),
            memory: Bytes(memory.saturating_sub(reserve)),
        }
    }
}

impl MachineResources {
    /// How many that take `each` there is room for.
    pub fn holds(self, each: Self) -> Fit {
        let most = |has: f64, each: f64| {
            // What is exactly enough is enough, whatever a division makes of it.
            let count = (has / each + 1e-9).floor();
            if each > 0.0 { count as u32 } else { u32::MAX }
        };
        Fit {
            by_cpu: most(self.cores, each.cores),
            by_memory: most(self.memory.0 as f64, each.memory.0 as f64),
        }
    }
}

impl fmt::Display for MachineResources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}cpu, {}", Short(self.cores), Size(self.memory))
    }
}

impl Fit {
    /// So many replicas.
    pub fn replicas(self) -> u32 {
        self.by_cpu.min(self.by_memory)
    }

    /// What runs out first.
    pub fn bound(self) -> Bound {
        if self.by_cpu <= self.by_memory {
            Bound::Cpu
        } else {
            Bound::Memory
        }
    }

    /// How many machines so many replicas take; one that holds none is never enough.
    pub fn machines(self, replicas: u32) -> Option<u32> {
        (self.replicas() > 0).then(|| replicas.div_ceil(self.replicas()))
    }

    /// The share of so many replicas that is there when the loss of one of these machines has been made good
    /// on the others, as far as they hold them.
    pub fn without_one(self, machines: u32, replicas: u32) -> f64 {
        let left = f64::from(machines.saturating_sub(1)) * f64::from(self.replicas());
        (left / f64::from(replicas.max(1))).min(1.0)
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "CPU",
            Self::Memory => "memory",
        })
    }
}

impl FromStr for MachineKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = "expected NAME=CPU,MEMORY like small=2cpu,4GiB";
        let (name, has) = text.split_once('=').ok_or(form)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || !name.chars().all(plain) {
            return Err(format!(
                "found the name `{name}`, expected letters, digits and -_. as in small=2cpu,4GiB"
            ));
        }
        let (cpu, memory) = has.split_once(',').ok_or(form)?;
        Ok(Self {
            name: name.to_owned(),
            has: MachineResources {
                cores: cores(cpu.trim())?,
                memory: size(memory.trim())?,
            },
        })
    }
}

fn cores(text: &str) -> Result<f64, String> {
    let lower = text.to_ascii_lowercase();
    let number = lower
        .strip_suffix('s')
        .unwrap_or(&lower)
        .strip_suffix("cpu")
        .map(|number| number.strip_suffix('v').unwrap_or(number).trim_end());
    let number = number.and_then(|number| number.parse::<f64>().ok());
    let number = number.filter(|number| *number > 0.0 && *number <= MachineKind::MOST_CORES);
    number.ok_or_else(|| {
        format!(
            "found CPU `{text}`, expected a number of cores with its unit, like 2cpu or 0.5cpu (up to {})",
            MachineKind::MOST_CORES
        )
    })
}

fn size(text: &str) -> Result<Bytes, String> {
    // A bare number would be bytes, and is never meant.
    let has_unit = text.ends_with(|c: char| c.is_ascii_alphabetic());
    let size = text
        .parse::<Bytes>()
        .ok()
        .filter(|size| has_unit && size.0 > 0);
    size.ok_or_else(|| {
        format!("found memory `{text}`, expected a size with its unit, like 4GiB or 512MiB")
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kind(text: &str) -> MachineKind {
        text.parse()
            .unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn kinds_are_read_as_people_write_them_and_what_is_wrong_is_named() {
        let small = kind("small=2cpu,4GiB");
        assert_eq!((small.name.as_str(), small.has.cores), ("small", 2.0));
        assert_eq!(small.has.memory, Bytes(4 << 30));
        assert_eq!(small.has.to_string(), "2cpu, 4GiB");
        for same in [
            "small=2cpus,4GB",
            "small=2 vCPU, 4g",
            "small=2.0vcpus,4096m",
        ] {
            assert_eq!(kind(same), small, "{same}");
        }
        assert_eq!(kind("x=0.5cpu,1g").has.cores.to_string(), "0.5");
        for (wrong, expected) in [
            ("2cpu,4GiB", "expected NAME=CPU,MEMORY like small=2cpu,4GiB"),
            ("small=2cpu", "expected NAME=CPU,MEMORY"),
            ("=2cpu,4GiB", "found the name ``"),
            ("my vps=2cpu,4GiB", "found the name `my vps`"),
            ("small=2,4GiB", "found CPU `2`, expected a number of cores"),
            ("small=4GiB,2cpu", "found CPU `4GiB`"),
            ("small=0cpu,4GiB", "found CPU `0cpu`"),
            ("small=-1cpu,4GiB", "found CPU `-1cpu`"),
            ("small=infcpu,4GiB", "found CPU `infcpu`"),
            ("small=nancpu,4GiB", "found CPU `nancpu`"),
            (
                "small=2cpu,4",
                "found memory `4`, expected a size with its unit",
            ),
            ("small=2cpu,0GiB", "found memory `0GiB`"),
            ("small=2cpu,lots", "found memory `lots`"),
        ] {
            let error = wrong.parse::<MachineKind>().err().unwrap_or_default();
            assert!(error.starts_with(expected), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_machine_is_full_when_the_first_of_the_two_is() {
        let kept = policy::HostReserve::default();
        let each = MachineResources {
            cores: 0.5,
            memory: Bytes(256 << 20),
        };
        // 1.9 cores are left of two, and of 4 GiB what the reserve and the system leave.
        let room = kind("small=2cpu,4GiB").room(kept);
        assert_eq!(room.memory, Bytes((4 << 30) - (4 << 30) / 10 - (256 << 20)));
        let fit = room.holds(each);
        assert_eq!((fit.by_cpu, fit.by_memory), (3, 13));
        assert_eq!((fit.replicas(), fit.bound()), (3, Bound::Cpu));
        let fit = kind("flat=16cpu,1GiB").room(kept).holds(each);
        assert_eq!((fit.replicas(), fit.bound()), (2, Bound::Memory));
        // What is exactly enough is enough.
        let none = policy::HostReserve {
            reserve_cpu: None,
            reserve_memory: None,
        };
        let tenth = MachineResources { cores: 0.1, ..each };
        assert_eq!(kind("x=0.7cpu,64GiB").room(none).holds(tenth).by_cpu, 7);
        let tiny = kind("x=0.5cpu,200MiB").room(none);
        assert_eq!(
            (tiny.memory, tiny.holds(each).machines(1)),
            (Bytes(0), None)
        );
    }

    #[test]
    fn of_three_machines_two_are_left() {
        let fit = Fit {
            by_cpu: 4,
            by_memory: 9,
        };
        assert_eq!(fit.machines(10), Some(3));
        assert!((fit.without_one(3, 10) - 0.8).abs() < 1e-9);
        assert!((fit.without_one(4, 10) - 1.0).abs() < 1e-9);
        assert!(fit.without_one(1, 3).abs() < 1e-9);
        assert_eq!((fit.machines(8), fit.machines(9)), (Some(2), Some(3)));
    }

    proptest! {
        #[test]
        fn more_load_never_takes_fewer_machines_and_bigger_ones_are_never_more(
            cores in 0.1..128.0f64, memory in 1u64..1 << 40, more in 1.0..8.0f64,
            each_cores in 0.01..8.0f64, each_memory in 1u64..1 << 36,
            replicas in 1u32..100_000, further in 0u32..100_000,
        ) {
            let kept = policy::HostReserve::default();
            let each = MachineResources { cores: each_cores, memory: Bytes(each_memory) };
            let fit = |has: MachineResources| MachineKind { name: "x".into(), has }.room(kept).holds(each);
            let has = MachineResources { cores, memory: Bytes(memory) };
            let bigger = MachineResources { cores: cores * more, memory: Bytes((memory as f64 * more) as u64) };
            let (one, other) = (fit(has), fit(bigger));
            prop_assert!(one.replicas() <= other.replicas());
            // With a hole where none fits, which no number of machines fills.
            let count = |fit: Fit, replicas| fit.machines(replicas).unwrap_or(u32::MAX);
            prop_assert!(count(one, replicas) <= count(one, replicas + further));
            prop_assert!(count(other, replicas) <= count(one, replicas));
            // They hold all of them, and one machine fewer would not; one more survives the loss of one.
            if let Some(machines) = one.machines(replicas) {
                let held = u64::from(machines) * u64::from(one.replicas());
                prop_assert!(held >= u64::from(replicas));
                prop_assert!(held - u64::from(one.replicas()) < u64::from(replicas));
                prop_assert!(one.without_one(machines, replicas) < 1.0);
                prop_assert!(one.without_one(machines + 1, replicas) >= 1.0);
                // What they hold, they hold in cores and in memory.
                let used = f64::from(one.replicas()) * each_cores;
                prop_assert!(one.replicas() == u32::MAX || used <= cores * 0.95 + 1e-6);
            }
        }
    }
}
