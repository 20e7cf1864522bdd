//! The nginx of a simulated host.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::sleep;

use super::engine::SimulatedHost;
use crate::proxy::{
    Proxy, ProxyError, PublishResult, Upstream,
    nginx::{NginxAccess, NginxAnswer},
};

/// How long a test of the configuration and a reload take.
const TEST: Duration = Duration::from_millis(60);
const RELOAD: Duration = Duration::from_millis(120);

/// nginx, and the files that it reads.
#[derive(Debug)]
pub struct SimProxy {
    host: SimulatedHost,
    written: Mutex<Vec<Upstream>>,
}

impl SimProxy {
    /// On this host.
    pub fn new(host: SimulatedHost) -> Self {
        Self {
            host,
            written: Mutex::new(Vec::new()),
        }
    }

    fn runs(&self) -> bool {
        self.host.world().nginx_runs()
    }

    /// Writes the files.
    fn write(&self, upstreams: &[Upstream]) {
        let mut world = self.host.world();
        for upstream in upstreams {
            let servers = upstream.servers.iter();
            let weights = servers.map(|server| (server.name.clone(), u32::from(server.weight)));
            world.write(&upstream.service, weights.collect());
        }
        *lock(&self.written) = upstreams.to_vec();
    }
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy for SimProxy {
    async fn publish(&self, upstreams: &[Upstream]) -> Result<PublishResult, ProxyError> {
        let stopped = || ProxyError::NotRunning {
            why: "its container is not running".into(),
        };
        if !self.runs() {
            // It finds them when it starts.
            self.write(upstreams);
            return Err(stopped());
        }
        let changed: Vec<_> = {
            let written = lock(&self.written);
            let differs = |one: &&Upstream| !written.contains(one);
            let names = upstreams.iter().filter(differs).map(|one| &one.service);
            names.map(|name| format!("{name}.conf")).collect()
        };
        if changed.is_empty() {
            return Ok(PublishResult::default());
        }
        sleep(TEST).await;
        let refuses = self.host.world().nginx_refuses.clone();
        if let Some(message) = refuses {
            return Err(ProxyError::Rejected { message });
        }
        self.write(upstreams);
        sleep(RELOAD).await;
        if !self.runs() {
            return Err(stopped());
        }
        self.host.world().reload();
        Ok(PublishResult {
            changed,
            reloaded: true,
            ..PublishResult::default()
        })
    }

    async fn drained(&self, _published: &PublishResult) -> Result<(), ProxyError> {
        // The old workers are those of before: what came in since then is not theirs, and is not counted
        // for the first time it is asked.
        let wait = self.host.world().drained_in();
        sleep(wait).await;
        Ok(())
    }

    fn is_as_written(&self, upstreams: &[Upstream]) -> bool {
        *lock(&self.written) == upstreams
    }

    fn nginx(&self) -> Option<&dyn NginxAccess> {
        Some(self)
    }
}

impl NginxAccess for SimProxy {
    fn configurations(&self) -> NginxAnswer<'_, Vec<(String, String)>> {
        Box::pin(async {
            let world = self.host.world();
            let nginx = world.containers.values();
            let nginx = nginx.filter(|one| one.service() == "nginx" && one.runs());
            nginx.map(|one| (one.name.clone(), String::new())).collect()
        })
    }

    fn reopen_logs(&self) -> NginxAnswer<'_, Result<(), ProxyError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn log_refused(&self) -> Option<String> {
        None
    }
}
