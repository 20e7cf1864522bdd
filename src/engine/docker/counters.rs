//! A container's counters: from cgroup files, which take 0.1 ms, or from the Engine, whose collector
//! answers once a second.

use std::{fs, io, time::Duration};

use bollard::{models::ContainerStatsResponse, query_parameters::StatsOptionsBuilder};
use futures_util::TryStreamExt;

use crate::{
    engine::{EngineError, docker::Docker},
    project::Replica,
    units::Timestamp,
    usage::{
        CounterReading,
        cgroup::{self, Layout, Paths},
        memory,
    },
};

/// Longest wait for the Engine's collector: 2.4 s were seen with 100 containers.
const COLLECTOR: Duration = Duration::from_secs(10);

impl Docker {
    pub(super) async fn read_counters(
        &self,
        replica: &Replica,
    ) -> Result<CounterReading, EngineError> {
        if let Some(layout) = self.machine().await?.cgroups {
            let paths = layout.paths(&replica.id.0, &replica.cgroup_parent);
            if let Some(reading) = self.read_files(layout, &paths, replica)? {
                return Ok(reading);
            }
        }
        self.read_stats(replica).await
    }

    /// `None` when the files are not where they are expected: a parent that the Engine reads
    /// otherwise, or a container that has just ended. These are files of the kernel's memory, so
    /// reading them does not block.
    fn read_files(
        &self,
        layout: Layout,
        paths: &Paths,
        replica: &Replica,
    ) -> Result<Option<CounterReading>, EngineError> {
        let texts = || -> io::Result<_> {
            let cpu = fs::read_to_string(&paths.cpu)?;
            let at = self.clock.now();
            Ok((
                at,
                cpu,
                fs::read_to_string(&paths.cpu_stat)?,
                fs::read_to_string(&paths.memory)?,
                fs::read_to_string(&paths.memory_stat)?,
            ))
        };
        let Ok((at, cpu, cpu_stat, memory, memory_stat)) = texts() else {
            return Ok(None);
        };
        cgroup::parse(&layout, at, &cpu, &cpu_stat, &memory, &memory_stat)
            .map(Some)
            .map_err(|error| EngineError::UnexpectedResponse {
                doing: format!("reading the counters of {}", replica.name),
                why: error.to_string(),
            })
    }

    async fn read_stats(&self, replica: &Replica) -> Result<CounterReading, EngineError> {
        let options = StatsOptionsBuilder::default()
            .stream(false)
            .one_shot(true)
            .build();
        let doing = format!("reading the counters of {}", replica.name);
        let mut stats = self.client.stats(&replica.id.0, Some(options));
        let answer = self
            .within(
                COLLECTOR,
                &doing,
                &format!("container {}", replica.name),
                stats.try_next(),
            )
            .await?;
        answer
            .as_ref()
            .and_then(reading)
            .ok_or_else(|| EngineError::UnexpectedResponse {
                doing,
                why: "the Engine has no counters of it; it does not run".into(),
            })
    }
}

/// The counters of the Engine's answer; `None` when they are those of a stopped container.
fn reading(stats: &ContainerStatsResponse) -> Option<CounterReading> {
    let at: Timestamp = stats
        .read
        .as_deref()
        .filter(|read| !read.starts_with("0001-"))?
        .parse()
        .ok()?;
    let cpu = stats.cpu_stats.as_ref()?;
    let cpu_nanos = cpu.cpu_usage.as_ref()?.total_usage?;
    let throttling = cpu.throttling_data.clone().unwrap_or_default();
    let memory = stats.memory_stats.as_ref()?;
    let inactive = memory.stats.as_ref().and_then(|stats| {
        stats
            .get("total_inactive_file")
            .or_else(|| stats.get("inactive_file"))
            .copied()
    });
    Some(CounterReading {
        at,
        cpu_nanos,
        periods: throttling.periods.unwrap_or(0),
        throttled: throttling.throttled_periods.unwrap_or(0),
        working_set: memory::working_set(memory.usage?, inactive.unwrap_or(0)),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::units::Bytes;

    fn read(stats: Value) -> Option<CounterReading> {
        reading(&serde_json::from_value(stats).unwrap())
    }

    #[test]
    fn the_engines_answer_makes_a_reading() {
        let stats = json!({
            "read": "2026-01-01T12:00:00.5Z",
            "cpu_stats": {
                "cpu_usage": {"total_usage": 1_500_000},
                "throttling_data": {"periods": 10, "throttled_periods": 4, "throttled_time": 9}
            },
            "memory_stats": {"usage": 5000, "stats": {"total_inactive_file": 1000, "inactive_file": 7}}
        });
        assert_eq!(
            read(stats),
            Some(CounterReading {
                at: "2026-01-01T12:00:00.5Z".parse().unwrap(),
                cpu_nanos: 1_500_000,
                periods: 10,
                throttled: 4,
                working_set: Bytes(4000),
            })
        );
    }

    #[test]
    fn a_stopped_container_has_no_reading() {
        let stopped = json!({
            "read": "0001-01-01T00:00:00Z",
            "cpu_stats": {"cpu_usage": {"total_usage": 0}}, "memory_stats": {}
        });
        assert_eq!(read(stopped), None);
    }
}
