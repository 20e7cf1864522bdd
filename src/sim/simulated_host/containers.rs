//! Containers: made, started, stopped and removed, by request, by compose, or by themselves.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
    time::Duration,
};

use super::{super::clock, BEFORE, Container, ReplicaFault, ScheduledEvent, World};
use crate::{
    engine::ContainerAction,
    project::{ContainerId, ContainerState, Fixed, Health, Limits, MountPoint, Replica, labels},
};

impl World {
    /// A container as compose makes it, which was not started yet.
    pub(super) fn make(&mut self, service: &str, number: u32, image: &str) -> ContainerId {
        let labels = BTreeMap::from(
            [
                (labels::PROJECT, self.project.clone()),
                (labels::SERVICE, service.to_owned()),
                (labels::NUMBER, number.to_string()),
                (labels::CONFIG_HASH, format!("{:064x}", service.len())),
                (labels::ONEOFF, "False".to_owned()),
            ]
            .map(|(key, value)| (key.to_owned(), value)),
        );
        let name = self.name_of(service, number);
        self.add(name, labels, image)
    }

    pub(in crate::sim) fn add(
        &mut self,
        name: String,
        labels: BTreeMap<String, String>,
        image: &str,
    ) -> ContainerId {
        self.made += 1;
        let id = ContainerId(format!("{:08x}{:056x}", self.made, 0));
        let service = labels.get(labels::SERVICE);
        let profile = service.and_then(|name| Some(&self.services.get(name)?.profile));
        let limits = profile.map_or(Limits::default(), |profile| Limits {
            cpus: Some(profile.cores),
            memory: profile.memory_limit,
        });
        let container = Container {
            id: id.clone(),
            name,
            image: image.to_owned(),
            networks: self.networks.clone(),
            address: (10 << 24) + 1 + self.made,
            state: ContainerState::Created,
            health: if profile.is_some() {
                Health::Starting
            } else {
                Health::None
            },
            created: clock::now(),
            started: None,
            since: Duration::ZERO,
            exit_code: None,
            oom_killed: false,
            lives: 0,
            limits,
            making: false,
            labels,
        };
        self.containers.insert(id.clone(), container);
        self.tell(&id, ContainerAction::Create);
        id
    }

    pub(super) fn run_since_before(&mut self, id: &ContainerId) {
        let Some(container) = self.containers.get_mut(id) else {
            return;
        };
        let began = clock::now() - BEFORE;
        container.created = began;
        container.started = Some(began);
        container.state = ContainerState::Running;
        container.lives = 1;
        if container.health == Health::Starting {
            container.health = Health::Healthy;
            let name = container.name.clone();
            if let Some(service) = self.services.get_mut(container.service()) {
                service.begin(&name);
            }
            self.may_crash(id);
        }
    }

    /// Another one like it.
    pub(in crate::sim) fn copy(
        &mut self,
        like: &ContainerId,
        name: &str,
        number: u32,
    ) -> Option<ContainerId> {
        let like = self.containers.get(like)?;
        let mut labels = like.labels.clone();
        labels.insert(labels::NUMBER.into(), number.to_string());
        let image = like.image.clone();
        let id = self.add(name.to_owned(), labels, &image);
        self.is_made(&id);
        Some(id)
    }

    /// The tool has made it.
    pub(in crate::sim) fn is_made(&mut self, id: &ContainerId) {
        let at = self.elapsed();
        if let Some(container) = self.containers.get_mut(id) {
            container.making = true;
            self.judge.makes(container.service(), at);
        }
    }

    /// It is ready, or given up.
    pub(super) fn is_through(&mut self, id: &ContainerId) {
        let at = self.elapsed();
        if let Some(container) = self.containers.get_mut(id) {
            if std::mem::take(&mut container.making) {
                self.judge.made(container.service(), at);
            }
            self.judge.changes(at);
        }
    }

    /// A container that is nobody's replica.
    pub(in crate::sim) fn add_foreign(&mut self, name: &str, labels: &[(&str, &str)]) {
        let labels = labels
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let id = self.add(name.to_owned(), labels.collect(), "app:1");
        if let Some(container) = self.containers.get_mut(&id) {
            container.state = ContainerState::Running;
            container.started = Some(clock::now());
            container.lives = 1;
        }
    }

    /// By id or by name.
    pub(in crate::sim) fn find(&self, key: &str) -> Option<&Container> {
        let by_id = self.containers.get(&ContainerId(key.to_owned()));
        by_id.or_else(|| self.containers.values().find(|one| one.name == key))
    }

    /// Starts it, or says why not.
    pub(in crate::sim) fn start(&mut self, id: &ContainerId) -> Result<(), String> {
        self.catch_up();
        let at = self.at;
        let Some(container) = self.containers.get_mut(id) else {
            return Ok(());
        };
        if container.runs() {
            return Ok(());
        }
        let service = self.services.get(container.service());
        let fate = service.map_or(ReplicaFault::Fine, |service| service.fate);
        if fate == ReplicaFault::CannotStart {
            return Err(
                "failed to create task for container: exec: \"serve\": executable file not found in $PATH"
                    .into(),
            );
        }
        container.state = ContainerState::Running;
        container.started = Some(clock::now());
        container.since = at;
        container.lives += 1;
        container.exit_code = None;
        container.oom_killed = false;
        let start_time = service.map(|service| service.profile.start_time);
        if start_time.is_some() {
            container.health = Health::Starting;
        }
        self.update_nginx();
        self.tell(id, ContainerAction::Start);
        match (fate, start_time) {
            (ReplicaFault::Fine, Some(span)) => self.note(at + span, id, ScheduledEvent::Ready),
            (ReplicaFault::DiesAtOnce, _) => {
                self.note(at + Duration::from_millis(300), id, ScheduledEvent::Ends(1));
            }
            _ => {}
        }
        Ok(())
    }

    /// Its process ends, for this reason.
    pub(in crate::sim) fn end(&mut self, id: &ContainerId, code: i64, oom: bool) {
        self.catch_up();
        self.force(id);
        self.ended(id, code, oom);
    }

    /// The world does something to it.
    pub(super) fn force(&mut self, id: &ContainerId) {
        let at = self.elapsed();
        if let Some(container) = self.containers.get(id) {
            self.judge.forces(Some(container.service()), at);
        }
    }

    pub(super) fn ended(&mut self, id: &ContainerId, code: i64, oom: bool) {
        let Some(container) = self.containers.get_mut(id).filter(|one| one.runs()) else {
            return;
        };
        container.state = ContainerState::Exited;
        container.exit_code = Some(code);
        container.oom_killed = oom;
        let name = container.name.clone();
        if let Some(service) = self.services.get_mut(container.service()) {
            service.queue.remove(&name);
        }
        self.is_through(id);
        self.update_nginx();
        if oom {
            self.tell(id, ContainerAction::Oom);
        }
        self.tell(id, ContainerAction::Die(Some(code)));
    }

    /// Stops it by request.
    pub(in crate::sim) fn stop(&mut self, id: &ContainerId) {
        self.catch_up();
        if self.containers.get(id).is_some_and(Container::runs) {
            self.tell(id, ContainerAction::Kill("15".into()));
            self.ended(id, 0, false);
            self.tell(id, ContainerAction::Stop);
        }
    }

    /// Removes it, running or not.
    pub(in crate::sim) fn remove(&mut self, id: &ContainerId) {
        self.catch_up();
        if self.containers.get(id).is_some_and(Container::runs) {
            self.tell(id, ContainerAction::Kill("9".into()));
            self.ended(id, 137, false);
        }
        self.is_through(id);
        self.tell(id, ContainerAction::Destroy);
        self.containers.remove(id);
    }

    /// What compose does for `up -d --scale SERVICE=COUNT`.
    pub(in crate::sim) fn compose_up(&mut self, service: &str, count: u32) {
        self.catch_up();
        let at = self.elapsed();
        self.judge.forces(Some(service), at);
        let mut there: Vec<_> = self
            .containers
            .values()
            .filter(|one| self.is_replica(one, service))
            .map(|one| (one.number(), one.id.clone()))
            .collect();
        there.sort();
        for (_, id) in there.drain((count as usize).min(there.len())..) {
            self.stop(&id);
            self.remove(&id);
        }
        let taken: BTreeSet<_> = there.iter().map(|(number, _)| *number).collect();
        let free = (1..).filter(|number| !taken.contains(number));
        let missing = (count as usize).saturating_sub(there.len());
        for number in free.take(missing).collect::<Vec<_>>() {
            let id = self.make(service, number, "app:1");
            let _ = self.start(&id);
        }
    }

    /// Whether compose counts it as a replica of this service.
    pub(in crate::sim) fn is_replica(&self, one: &Container, service: &str) -> bool {
        one.service() == service
            && one.labels.get(labels::PROJECT) == Some(&self.project)
            && one.labels.get(labels::ONEOFF).is_some_and(|v| v == "False")
    }

    /// As the Engine describes it.
    pub(in crate::sim) fn replica(container: &Container) -> Replica {
        let address = IpAddr::V4(container.ip());
        let networks = container.networks.iter().filter(|_| container.runs());
        let is_nginx = container.image.starts_with("nginx");
        Replica {
            id: container.id.clone(),
            name: container.name.clone(),
            service: container.service().to_owned(),
            number: container.number(),
            state: container.state,
            health: container.health,
            created: container.created,
            started: container.started,
            addresses: networks.map(|name| (name.clone(), address)).collect(),
            published: BTreeMap::new(),
            config_hash: container
                .labels
                .get(labels::CONFIG_HASH)
                .cloned()
                .unwrap_or_default(),
            image: container.image.clone(),
            image_id: "sha256:1".into(),
            limits: container.limits,
            pid: 0,
            cgroup_parent: String::new(),
            refers_to: Vec::new(),
            oom_killed: container.oom_killed,
            restart_count: 0,
            exit_code: container.exit_code,
            fixed: Fixed::default(),
            stop_timeout: None,
            // No path of the machine that the simulation runs on.
            mounts: is_nginx
                .then(|| MountPoint {
                    source: PathBuf::from("/simulated/upstreams"),
                    destination: PathBuf::from("/etc/nginx/upstreams"),
                    is_writable: false,
                })
                .into_iter()
                .collect(),
            labels: container.labels.clone(),
        }
    }
}
