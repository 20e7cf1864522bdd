//! What the machine has left, as the kernel tells it below `/proc`: available memory, idle cores, and
//! whether processes wait for one.
//!
//! The figures are those of the whole machine also inside a container.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::units::{Bytes, Timestamp};

/// Two readings of the cores that are closer to each other than this show nothing.
const SHORTEST: Duration = Duration::from_millis(500);

/// A look at the machine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HostSample {
    /// All of its memory.
    pub memory: Bytes,
    /// Memory that programs may have without swapping (`MemAvailable`).
    pub available: Bytes,
    /// Share of the cores' time since the look before that was not idle, in percent; `None` for the
    /// first one.
    pub busy: Option<f64>,
    /// Share of the last ten seconds in which some process waited for a core, in percent; `None`
    /// where the kernel does not tell.
    pub pressure: Option<f64>,
}

/// How another machine than this one is looked at.
pub type RemoteHostReader = Box<dyn FnMut(Timestamp) -> Option<HostSample> + Send>;

/// Looks at the machine again and again.
pub struct Watcher {
    proc: PathBuf,
    told: Option<RemoteHostReader>,
    /// The cores' time when it was read: all of it and the idle part.
    before: Option<(Timestamp, Ticks)>,
    busy: Option<f64>,
}

/// Time of all cores since the machine started, in the kernel's ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ticks {
    all: u64,
    idle: u64,
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher")
            .field("proc", &self.proc)
            .field("before", &self.before)
            .finish_non_exhaustive()
    }
}

impl Default for Watcher {
    fn default() -> Self {
        Self::below(Path::new("/proc"))
    }
}

impl Watcher {
    /// One who is told what there is to be seen, instead of looking below `/proc`.
    pub fn told(told: RemoteHostReader) -> Self {
        Self {
            told: Some(told),
            ..Self::default()
        }
    }

    fn below(proc: &Path) -> Self {
        Self {
            proc: proc.to_owned(),
            told: None,
            before: None,
            busy: None,
        }
    }

    /// A look; `None` where the kernel tells nothing of its memory.
    pub fn look(&mut self, now: Timestamp) -> Option<HostSample> {
        if let Some(told) = &mut self.told {
            return told(now);
        }
        let read = |file: &str| fs::read_to_string(self.proc.join(file)).ok();
        let (memory, available) = memory(&read("meminfo")?)?;
        let pressure = read("pressure/cpu").as_deref().and_then(pressure);
        if let Some(ticks) = read("stat").as_deref().and_then(ticks) {
            match self.before {
                Some((at, _)) if now >= at && now.since(at) < SHORTEST => {}
                before => {
                    self.busy = before.and_then(|(_, before)| busy(before, ticks));
                    self.before = Some((now, ticks));
                }
            }
        }
        Some(HostSample {
            memory,
            available,
            busy: self.busy,
            pressure,
        })
    }
}

/// All memory and what is available of it.
fn memory(meminfo: &str) -> Option<(Bytes, Bytes)> {
    let of = |key: &str| {
        let line = meminfo.lines().find_map(|line| line.strip_prefix(key))?;
        let kib = line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?;
        Some(Bytes(kib.checked_mul(1024)?))
    };
    Some((of("MemTotal:")?, of("MemAvailable:")?))
}

/// The first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal, and twice
/// what is in user and nice already. Waiting for a disk is idle time; what a hypervisor took is not.
fn ticks(stat: &str) -> Option<Ticks> {
    let fields: Vec<u64> = stat
        .lines()
        .next()?
        .strip_prefix("cpu ")?
        .split_whitespace()
        .map(|field| field.parse().ok())
        .collect::<Option<_>>()?;
    Some(Ticks {
        all: fields.iter().take(8).sum(),
        idle: fields.get(3)? + fields.get(4)?,
    })
}

fn busy(before: Ticks, now: Ticks) -> Option<f64> {
    let all = now.all.checked_sub(before.all).filter(|all| *all > 0)?;
    // The kernel's idle time may go back by a tick.
    let idle = now.idle.saturating_sub(before.idle).min(all);
    Some(100.0 - idle as f64 / all as f64 * 100.0)
}

/// `some avg10=2.22 avg60=…`: the share in which at least one process waited.
fn pressure(file: &str) -> Option<f64> {
    let some = file.lines().find_map(|line| line.strip_prefix("some "))?;
    let average = some
        .split_whitespace()
        .find_map(|field| field.strip_prefix("avg10="))?;
    average.parse().ok().filter(|share: &f64| share.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine of 4 GiB with these ticks of user time, of idling and of waiting for a disk.
    fn machine(proc: &Path, user: u64, idle: u64, disk: u64) {
        let write =
            |file: &str, text: &str| crate::files::replace(&proc.join(file), text.as_bytes());
        write(
            "meminfo",
            "MemTotal:        4194304 kB\nMemFree:          102400 kB\nMemAvailable:    1048576 kB\n",
        )
        .unwrap();
        let stat = format!("cpu  {user} 0 0 {idle} {disk} 0 0 0 7 0\ncpu0 1 2 3\n");
        write("stat", &stat).unwrap();
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_unix(0) + Duration::from_millis(millis)
    }

    #[test]
    fn a_look_has_memory_at_once_and_cores_from_the_second_one_on() {
        let proc = tempfile::tempdir().unwrap();
        let mut watcher = Watcher::below(proc.path());
        assert_eq!(watcher.look(at(0)), None);
        machine(proc.path(), 1000, 1000, 0);
        let first = watcher.look(at(0)).unwrap();
        assert_eq!(first.memory, Bytes(4 << 30));
        assert_eq!(first.available, Bytes(1 << 30));
        assert_eq!((first.busy, first.pressure), (None, None));
        machine(proc.path(), 1900, 1060, 40);
        assert_eq!(watcher.look(at(5000)).unwrap().busy, Some(90.0));
        // A look right after it has nothing new to say.
        machine(proc.path(), 1900, 1061, 40);
        assert_eq!(watcher.look(at(5100)).unwrap().busy, Some(90.0));
        machine(proc.path(), 1900, 1160, 40);
        assert_eq!(watcher.look(at(10_000)).unwrap().busy, Some(0.0));
        // A clock that was set back is no reason to wait.
        machine(proc.path(), 2000, 1160, 40);
        assert_eq!(watcher.look(at(1000)).unwrap().busy, Some(100.0));
    }

    #[test]
    fn pressure_is_that_of_the_last_ten_seconds() {
        let file = "some avg10=2.22 avg60=19.17 avg300=40.47 total=1224415952\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";
        assert_eq!(pressure(file), Some(2.22));
        assert_eq!(pressure(""), None);
        assert_eq!(pressure("some avg60=1.0"), None);
    }

    #[test]
    fn what_makes_no_sense_is_no_figure() {
        assert_eq!(memory("MemTotal: 12 kB\n"), None);
        assert_eq!(memory("MemTotal: x kB\nMemAvailable: 1 kB\n"), None);
        assert_eq!(ticks("cpu  1 2 3\n"), None);
        assert_eq!(ticks("intr 1 2 3 4 5\n"), None);
        let (some, more) = (Ticks { all: 10, idle: 5 }, Ticks { all: 20, idle: 4 });
        assert_eq!(busy(some, some), None);
        assert_eq!(busy(some, more), Some(100.0));
        assert_eq!(busy(more, some), None);
    }
}
