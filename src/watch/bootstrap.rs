//! The first replica of a service that has none: of what is remembered of its replicas, else by
//! compose itself, else of what the compose file says.

use std::collections::BTreeMap;

use tracing::debug;

use super::{
    RunClock, container_refs,
    replica_ops::{self, Starts},
    service_setup,
};
use crate::{
    compose,
    compose_cli::{CliError, ComposeCli, ProjectLocation},
    engine::{Engine, EngineError, NewReplica},
    plan,
    project::{
        ContainerId, LifecycleHook, Replica, Service, container_spec::ContainerSpec, labels,
        remembered_replica::Template,
    },
    reconcile::{BootstrapError, BootstrappedReplica, Event, ServiceMachine},
    state::StateDir,
};

/// The engine's address when the environment names none.
const SOCKET: &str = "unix:///var/run/docker.sock";

/// What becomes of a container that is made from the file.
const AGAIN: &str = "created from the compose file, without the configuration hash that only compose can compute; the next `docker compose up -d` recreates it and its clones";

/// What making a first replica takes.
#[derive(Debug)]
pub(super) struct BootstrapContext {
    project: String,
    service: String,
    number: u32,
    template: Option<Template>,
    /// The file's values; `None` where they cannot be told.
    environment: Option<BTreeMap<String, Option<String>>>,
    uploads: Vec<String>,
    post_start: Vec<LifecycleHook>,
    /// What the compose file says, or what of it stands in the way.
    recipe: Option<Result<ContainerSpec, Vec<String>>>,
    /// Whether compose shows all that goes into the service's hash.
    hashable: bool,
    /// How compose is to be called; `None` where that is not known.
    place: Option<ProjectLocation>,
}

impl BootstrapContext {
    /// Of a service of the project, with what is remembered of its replicas.
    pub(super) fn new(
        loaded: &compose::Loaded,
        source: Option<&compose::LoadRequest>,
        service: &str,
        number: u32,
        template: Option<Template>,
    ) -> Self {
        let model = loaded.project.services.get(service);
        Self {
            project: loaded.project.name.clone(),
            service: service.to_owned(),
            number,
            environment: model.and_then(|s| s.environment.clone()),
            uploads: model.map(|s| s.uploads.clone()).unwrap_or_default(),
            post_start: model.map(|s| s.post_start.clone()).unwrap_or_default(),
            recipe: model.and_then(|s| s.recipe.clone()),
            hashable: model.is_some_and(|s| s.hashable),
            place: source.map(|source| place(source, loaded, template.as_ref())),
            template,
        }
    }

    /// How the new replica may be called.
    pub(super) fn names(&self) -> Vec<String> {
        // Either way of naming is compose's own.
        let by_compose = ['-', '_'].map(|by| format!("{}{by}{}{by}1", self.project, self.service));
        let named = self.template.as_ref();
        let as_remembered = named.and_then(|template| template.sibling_name(self.number));
        by_compose.into_iter().chain(as_remembered).collect()
    }
}

/// What was found out on the way to a first replica.
enum BootstrapFinding {
    /// It leads nowhere; the next one may.
    Closed(String),
    /// It should have led there, and the next one would fail as well.
    Failed(String),
}

/// Remembers a replica.
pub(super) async fn remember<E: Engine>(
    engine: &E,
    state: &StateDir,
    service: &str,
    id: &ContainerId,
) -> Result<(), String> {
    // One that cannot be read is made anew.
    let before = state.template(service).unwrap_or_default();
    match engine.remember(id, before.as_ref()).await {
        Ok(template) => state
            .keep_template(&template)
            .map(drop)
            .map_err(|error| error.to_string()),
        // The next listing brings another one, or none.
        Err(EngineError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// The project as compose must be told of it to read the same files.
pub fn place(
    source: &compose::LoadRequest,
    loaded: &compose::Loaded,
    template: Option<&Template>,
) -> ProjectLocation {
    let host = source.env.get("DOCKER_HOST");
    ProjectLocation {
        project: loaded.project.name.clone(),
        files: loaded.project.config_files.clone(),
        directory: loaded.project.working_dir.clone(),
        env_files: source.env_files.clone(),
        profiles: source.profiles.clone(),
        cwd: source.cwd.clone(),
        docker_host: host
            .filter(|host| !host.is_empty())
            .map_or_else(|| SOCKET.to_owned(), Clone::clone),
        underscores: template.is_some_and(|t| t.name.ends_with(&format!("_{}", t.number))),
    }
}

/// Whether compose v1 made what is remembered.
pub fn is_of_v1(template: Option<&Template>) -> bool {
    let label = format!("/Config/Labels/{}", labels::VERSION);
    template
        .and_then(|template| template.description.pointer(&label)?.as_str())
        .is_some_and(|version| version.starts_with("1."))
}

/// Makes the first replica.
pub(super) async fn first<E: Engine>(
    engine: &E,
    starts: &Starts,
    founding: &BootstrapContext,
) -> Result<BootstrappedReplica, BootstrapError> {
    let cli = match &founding.place {
        Some(_) => ComposeCli::find(is_of_v1(founding.template.as_ref())).await,
        None => Err(CliError::NotInstalled),
    };
    let mut closed = Vec::new();
    if let Some(template) = &founding.template {
        match as_remembered(engine, starts, founding, template, cli.as_ref().ok()).await {
            Ok(replica) => {
                return Ok(BootstrappedReplica {
                    replica: Box::new(replica),
                    how: "from its remembered configuration".into(),
                    troubles: Vec::new(),
                });
            }
            Err(BootstrapFinding::Failed(why)) => return Err(BootstrapError::Failed(why)),
            Err(BootstrapFinding::Closed(why)) => {
                debug!(
                    service = founding.service,
                    why, "the remembered configuration is not used"
                );
                closed.push(format!(
                    "the remembered configuration cannot be used: {why}"
                ));
            }
        }
    }
    let (cli, place) = match (cli, &founding.place) {
        (Ok(cli), Some(place)) => (cli, place),
        (Err(error), _) => {
            closed.push(error.to_string());
            return from_file(engine, starts, founding, closed).await;
        }
        (Ok(_), None) => return from_file(engine, starts, founding, closed).await,
    };
    by_compose(engine, starts, founding, &cli, place, closed).await
}

async fn as_remembered<E: Engine>(
    engine: &E,
    starts: &Starts,
    founding: &BootstrapContext,
    template: &Template,
    cli: Option<&ComposeCli>,
) -> Result<Replica, BootstrapFinding> {
    let Some(environment) = &founding.environment else {
        return Err(BootstrapFinding::Closed(
            "its env_file cannot be read".into(),
        ));
    };
    let name = template.sibling_name(founding.number).ok_or_else(|| {
        BootstrapFinding::Closed(format!("{} is no name of a replica", template.name))
    })?;
    if let (Some(cli), Some(place), true) = (cli, &founding.place, founding.hashable) {
        match cli.hash(place, &founding.service).await {
            Ok(Some(hash)) if hash != template.config_hash => {
                return Err(BootstrapFinding::Closed(
                    "its configuration has changed".into(),
                ));
            }
            Ok(_) => {}
            // What cannot be known does not stand in the way; the rest is checked all the same.
            Err(error) => debug!(service = founding.service, %error, "hash unknown"),
        }
    }
    let new = NewReplica {
        name,
        number: founding.number,
        uploads: founding.uploads.clone(),
    };
    made(
        engine,
        starts,
        founding,
        engine.make_remembered(template, &new, environment),
    )
    .await
}

/// Waits for a container to be made, and starts it.
async fn made<E: Engine>(
    engine: &E,
    starts: &Starts,
    founding: &BootstrapContext,
    making: impl Future<Output = Result<ContainerId, EngineError>>,
) -> Result<Replica, BootstrapFinding> {
    let _permit = starts
        .permits
        .acquire()
        .await
        .map_err(|_| BootstrapFinding::Failed("shutting down".into()))?;
    let id = making.await.map_err(|error| match error {
        EngineError::Outdated { why } => BootstrapFinding::Closed(why),
        error @ EngineError::Missing { .. } => BootstrapFinding::Closed(error.to_string()),
        error => BootstrapFinding::Failed(error.to_string()),
    })?;
    match replica_ops::start(engine, &id, &founding.post_start).await {
        Ok(replica) => Ok(replica),
        Err(why) => {
            let _ = engine.remove(&id).await;
            Err(BootstrapFinding::Failed(why))
        }
    }
}

/// The last way: what compose would do, done here.
async fn from_file<E: Engine>(
    engine: &E,
    starts: &Starts,
    founding: &BootstrapContext,
    mut closed: Vec<String>,
) -> Result<BootstrappedReplica, BootstrapError> {
    let recipe = match &founding.recipe {
        Some(Ok(recipe)) => recipe,
        Some(Err(refused)) => {
            closed.push(untranslated(refused));
            return Err(BootstrapError::NoWay(closed.join("; ")));
        }
        None => return Err(BootstrapError::NoWay(closed.join("; "))),
    };
    let new = NewReplica {
        name: recipe.name(founding.number),
        number: founding.number,
        uploads: founding.uploads.clone(),
    };
    let making = engine.make_from_file(recipe, &new);
    match made(engine, starts, founding, making).await {
        Ok(replica) => Ok(BootstrappedReplica {
            troubles: vec![format!("{}: {AGAIN}", replica.name)],
            replica: Box::new(replica),
            how: format!("from the compose file, because {}", closed.join("; ")),
        }),
        Err(BootstrapFinding::Closed(why)) => {
            closed.push(format!("it cannot be created from the compose file: {why}"));
            Err(BootstrapError::NoWay(closed.join("; ")))
        }
        Err(BootstrapFinding::Failed(why)) => Err(BootstrapError::Failed(why)),
    }
}

/// What stands in the way of making it from the file.
fn untranslated(refused: &[String]) -> String {
    format!(
        "it cannot be created from the compose file, because some of its keys are not supported: {}",
        refused.join(", ")
    )
}

/// Compose makes one and starts it; what it made is looked at before it is believed.
async fn by_compose<E: Engine>(
    engine: &E,
    starts: &Starts,
    founding: &BootstrapContext,
    cli: &ComposeCli,
    place: &ProjectLocation,
    mut closed: Vec<String>,
) -> Result<BootstrappedReplica, BootstrapError> {
    let service = &founding.service;
    match cli.up(place, service).await {
        Ok(()) => {}
        Err(error @ (CliError::NotInstalled | CliError::StandardInput)) => {
            closed.push(error.to_string());
            return from_file(engine, starts, founding, closed).await;
        }
        Err(error) => {
            closed.push(error.to_string());
            return Err(BootstrapError::Failed(closed.join("; ")));
        }
    }
    let containers = engine
        .list(&founding.project)
        .await
        .map_err(|error| BootstrapError::Failed(error.to_string()))?;
    let mut made: Vec<_> = containers
        .into_iter()
        .filter(|c| c.is_replica() && c.service == *service)
        .collect();
    let mut troubles = Vec::new();
    if made.len() > 1 {
        troubles.push(format!(
            "compose was asked for one replica of {service} and there are {}",
            made.len()
        ));
    }
    made.sort_by_key(|replica| (replica.created, replica.number));
    let replica = made.pop().ok_or_else(|| {
        BootstrapError::Failed(format!(
            "`{}` ended without an error and created nothing",
            cli.shown(place, service)
        ))
    })?;
    if founding.hashable
        && let Ok(Some(hash)) = cli.hash(place, service).await
        && hash != replica.config_hash
    {
        troubles.push(format!(
            "compose made {} with another configuration hash than its own `config` gives; the next `docker compose up -d` may recreate it",
            replica.name
        ));
    }
    Ok(BootstrappedReplica {
        replica: Box::new(replica),
        how: format!("with `{}`", cli.shown(place, service)),
        troubles,
    })
}

/// The steps from what is there to a count, without a driver.
pub fn plan(
    loaded: &compose::Loaded,
    service: &Service,
    containers: &[Replica],
    count: u32,
) -> Result<plan::Plan, plan::PlanError> {
    let now = RunClock::start().now();
    let setup = service_setup::setup_for(loaded, service, false);
    let mut machine = ServiceMachine::new(setup, None, now).passive();
    let replicas = containers
        .iter()
        .filter(|c| c.is_replica() && c.service == service.name);
    let seen = Event::Seen {
        replicas: replicas.cloned().collect(),
        needed: container_refs::needed(containers),
        taken: now,
    };
    machine.handle(seen, now);
    machine.plan(count)
}

/// What `--dry-run` says of a service that has no replica left.
pub async fn preview(
    source: &compose::LoadRequest,
    loaded: &compose::Loaded,
    state: &StateDir,
    service: &Service,
) -> String {
    let template = state.template(&service.name).unwrap_or_default();
    let place = place(source, loaded, template.as_ref());
    let compose = match ComposeCli::find(is_of_v1(template.as_ref())).await {
        Ok(cli) => format!("run `{}`", cli.shown(&place, &service.name)),
        Err(error) => match &service.recipe {
            Some(Ok(_)) => format!(
                "create one from the compose file, because {error}; the next `docker compose up -d` recreates it and its clones"
            ),
            Some(Err(refused)) => format!("fail: {error}; {}", untranslated(refused)),
            None => format!("fail: {error}"),
        },
    };
    match template {
        Some(template) => format!(
            "create a replica from the remembered configuration of {}; if that is outdated: {compose}",
            template.name
        ),
        None => compose,
    }
}
