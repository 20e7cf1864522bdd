//! One reading of a custom metric's value: where its source is, and how it is asked.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

use super::super::{
    address::{self, Addresses},
    nginx_target::NginxLocation,
};
use crate::{
    compose::Loaded,
    engine::{Engine, EngineError, Exec},
    policy::{self, CustomSource, ReplicaReach},
    project::{ContainerId, ContainerState, Replica},
    sources::{self, SourceError, command},
};

/// The Engine cannot end a command inside a container. So long its end is waited for before the next
/// one is begun: else those that hang would gather there.
const LINGER: Duration = Duration::from_secs(600);

/// Where things are in the project, for sources that name a service or are read for each replica.
#[derive(Debug, Clone, Default)]
pub struct SourceContext {
    /// Where commands on this host are run.
    directory: PathBuf,
    services: BTreeSet<String>,
    /// The first running replica of each service.
    first: BTreeMap<String, Replica>,
    nginx: NginxLocation,
    reach: ReplicaReach,
}

impl SourceContext {
    /// From the files and from what is there.
    pub fn new(loaded: &Loaded, nginx: NginxLocation, containers: &[Replica]) -> Self {
        let mut around = Self {
            directory: loaded.project.working_dir.clone(),
            services: loaded.project.services.keys().cloned().collect(),
            first: BTreeMap::new(),
            nginx,
            reach: loaded.settings.nginx.reach,
        };
        around.see(containers);
        around
    }

    /// The same after the files were read again.
    pub(super) fn reload(&mut self, loaded: &Loaded) {
        let first = std::mem::take(&mut self.first);
        *self = Self::new(loaded, NginxLocation::Unknown, &[]);
        self.first = first;
    }

    /// Where nginx is by now.
    pub(super) fn nginx_is(&mut self, nginx: &NginxLocation) {
        self.nginx = nginx.clone();
    }

    /// From a listing of the project's containers, which is in the order of their numbers.
    pub(super) fn see(&mut self, containers: &[Replica]) {
        self.first.clear();
        for one in containers
            .iter()
            .filter(|one| one.is_replica() && one.state == ContainerState::Running)
        {
            let first = self.first.entry(one.service.clone());
            first.or_insert_with(|| one.clone());
        }
    }

    fn first(&self, service: &str) -> Result<&Replica, SourceError> {
        let first = self.first.get(service);
        first.ok_or_else(|| SourceError::NotRunning {
            service: service.to_owned(),
        })
    }

    fn address(&self, replica: &Replica, port: u16) -> Result<std::net::SocketAddr, SourceError> {
        let of = Addresses {
            own: &replica.addresses,
            published: &replica.published,
        };
        let way = address::for_a_look(&self.nginx, self.reach, of, port);
        way.map(|way| way.address)
            .ok_or_else(|| SourceError::NoAddress {
                replica: replica.name.clone(),
            })
    }

    /// The replica's own address, for `{replica}`.
    fn own_address(&self, replica: &Replica) -> Option<IpAddr> {
        // Port 0 is published by nobody.
        let way = self.address(replica, 0).ok();
        way.map(|way| way.ip())
            .or_else(|| replica.addresses.values().next().copied())
    }
}

/// One value and the way to it.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceReading(SourceAccess);

#[derive(Debug, Clone, PartialEq)]
enum SourceAccess {
    Here {
        source: CustomSource,
        directory: PathBuf,
        address: Option<std::net::SocketAddr>,
    },
    Inside {
        replica: ContainerId,
        command: policy::CommandSource,
    },
    None(SourceError),
}

impl SourceReading {
    /// The way to a value of a service, or of one of its replicas.
    pub fn new(source: &CustomSource, of: Option<&Replica>, around: &SourceContext) -> Self {
        Self(Self::way(source, of, around).unwrap_or_else(SourceAccess::None))
    }

    fn way(
        source: &CustomSource,
        of: Option<&Replica>,
        around: &SourceContext,
    ) -> Result<SourceAccess, SourceError> {
        // Asked of the service itself, each replica is asked about itself.
        let of_service = |service: &str| match of {
            Some(replica) if replica.service == service => Ok(replica),
            _ => around.first(service),
        };
        let url = match source {
            CustomSource::Command(_) => None,
            CustomSource::Http(one) => Some(&one.url),
            CustomSource::Prometheus(one) => Some(&one.url),
        };
        let mut address = None;
        if let Some((host, port)) = url.and_then(|url| host_of(url)) {
            address = match of {
                Some(replica) if host == "{replica}" => Some(around.address(replica, port)?),
                _ if around.services.contains(&host) => {
                    Some(around.address(of_service(&host)?, port)?)
                }
                _ => None,
            };
        }
        let source = match of {
            Some(replica) => {
                let own = around.own_address(replica).map(|ip| ip.to_string());
                let own = own.unwrap_or_else(|| replica.name.clone());
                sources::for_replica(source, &replica.name, &own)
            }
            None => source.clone(),
        };
        match source {
            CustomSource::Command(command) if command.service.is_some() => {
                let service = command.service.as_deref().unwrap_or_default();
                Ok(SourceAccess::Inside {
                    replica: of_service(service)?.id.clone(),
                    command,
                })
            }
            source => Ok(SourceAccess::Here {
                source,
                directory: around.directory.clone(),
                address,
            }),
        }
    }

    /// Reads it once.
    pub async fn once<E: Engine>(&self, engine: &E) -> Result<f64, SourceError> {
        let (tell, told) = oneshot::channel();
        let reading = async {
            self.run(engine, |answer| {
                let _ = tell.send(answer);
            })
            .await;
            // The answer is told already.
            std::future::pending::<()>().await;
        };
        tokio::select! {
            answer = told => answer.unwrap_or(Err(SourceError::Engine("not read".into()))),
            () = reading => Err(SourceError::Engine("not read".into())),
        }
    }

    /// Reads it, tells the answer in time, and returns when nothing of it is under way any more.
    pub(super) async fn run<E: Engine>(
        &self,
        engine: &E,
        tell: impl FnOnce(Result<f64, SourceError>),
    ) {
        match &self.0 {
            SourceAccess::None(why) => tell(Err(why.clone())),
            SourceAccess::Here {
                source,
                directory,
                address,
            } => tell(sources::read(source, directory, *address).await),
            SourceAccess::Inside { replica, command } => {
                let after = command.timeout;
                let exec = Exec {
                    argv: command.argv.clone(),
                    deadline: Some(LINGER.max(after.0)),
                    keep: Some(command::OUTPUT + 1),
                    ..Exec::default()
                };
                let mut run = std::pin::pin!(engine.exec(replica, &exec));
                match timeout(after.0, &mut run).await {
                    Ok(Ok(output)) => {
                        let printed = command::Printed {
                            code: output.code,
                            stdout: output.stdout,
                            stderr: output.stderr,
                        };
                        tell(command::judge(command, &printed));
                    }
                    Ok(Err(error)) => tell(Err(not_run(command, &error))),
                    Err(_) => {
                        tell(Err(SourceError::TimedOut { after }));
                        let _ = run.await;
                    }
                }
            }
        }
    }
}

/// The host of a URL that may have `{replica}` in its place, and the port.
fn host_of(url: &str) -> Option<(String, u16)> {
    let (host, port) = sources::endpoint(&url.replacen("//{replica}", "//replica.invalid", 1))?;
    let host = if host == "replica.invalid" {
        "{replica}".into()
    } else {
        host
    };
    Some((host, port))
}

/// Why the Engine did not run a command. Newer ones refuse one that is not there.
fn not_run(command: &policy::CommandSource, error: &EngineError) -> SourceError {
    let text = error.to_string();
    let missing = text.contains("executable file not found") || text.contains("no such file");
    if missing {
        return SourceError::NotFound {
            program: command.argv.first().cloned().unwrap_or_default(),
            inside: command.service.clone(),
        };
    }
    SourceError::Engine(text.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        plan::tests::replica,
        policy::{CommandSource, HttpSource, ValueSelector},
        units::Span,
    };

    pub(in super::super) fn command(argv: &[&str]) -> CommandSource {
        CommandSource {
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            service: None,
            pointer: None,
            timeout: Span::seconds(5),
        }
    }

    pub(in super::super) fn http(url: &str) -> CustomSource {
        CustomSource::Http(HttpSource {
            url: url.to_owned(),
            pick: ValueSelector::Pointer {
                pointer: String::new(),
            },
            timeout: Span::seconds(60),
        })
    }

    pub(in super::super) fn around() -> SourceContext {
        SourceContext {
            directory: "/".into(),
            services: ["web", "redis"].map(str::to_owned).into(),
            ..SourceContext::default()
        }
    }

    #[test]
    fn a_host_that_is_a_service_is_its_first_running_replica_or_the_replica_itself() {
        let at = |number: u32, service: &str| {
            let mut one = replica(number);
            service.clone_into(&mut one.service);
            one.addresses = [("net".to_owned(), IpAddr::from([10, 0, 0, number as u8]))].into();
            one
        };
        let mut stopped = at(1, "redis");
        stopped.state = ContainerState::Exited;
        let mut around = around();
        around.see(&[
            at(1, "web"),
            at(2, "web"),
            stopped,
            at(5, "redis"),
            at(6, "redis"),
        ]);
        let address =
            |url: &str, of: Option<&Replica>| match SourceReading::new(&http(url), of, &around) {
                SourceReading(SourceAccess::Here { address, .. }) => {
                    address.map(|address| address.to_string())
                }
                other => panic!("{other:?}"),
            };
        let web = at(2, "web");
        let to = |text: &str| Some(text.to_owned());
        assert_eq!(address("http://redis:8000/", None), to("10.0.0.5:8000"));
        assert_eq!(address("http://redis/", Some(&web)), to("10.0.0.5:80"));
        assert_eq!(address("http://web:81/", None), to("10.0.0.1:81"));
        assert_eq!(address("http://web:81/", Some(&web)), to("10.0.0.2:81"));
        let filled = "http://{replica}:82/x?n={name}";
        assert_eq!(address(filled, Some(&web)), to("10.0.0.2:82"));
        assert_eq!(address("http://localhost/", None), None);

        let mut inside = command(&["redis-cli", "llen", "jobs"]);
        inside.service = Some("redis".into());
        let way = |command: &CommandSource| {
            SourceReading::new(&CustomSource::Command(command.clone()), None, &around)
        };
        let expected = SourceReading(SourceAccess::Inside {
            replica: at(5, "redis").id,
            command: inside.clone(),
        });
        assert_eq!(way(&inside), expected);
        inside.service = Some("queue".into());
        let expected = SourceReading(SourceAccess::None(SourceError::NotRunning {
            service: "queue".into(),
        }));
        assert_eq!(way(&inside), expected);
    }
}
