//! A real nginx in a container or on this host, with a directory of upstreams.

use std::{fs, net::TcpListener, path::PathBuf, process::Stdio, sync::Arc, time::Duration};

use compose_scale::proxy::{
    Proxy, ProxyError, PublishResult, Upstream, UpstreamServer,
    nginx::{Control, HostNginx, NginxProxy, NginxSetup, Only},
};
use compose_scale::{engine::docker::Docker, files, policy::Balance, project::ContainerId};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::{sleep, timeout},
};

use crate::{
    backend::Backend,
    reach::{Reach, docker},
};

const DEADLINE: Duration = Duration::from_secs(20);

/// Which nginx.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// An image, run with the host's network so that backends may be tasks of the test.
    Image(String),
    /// A program.
    Program(PathBuf),
}

impl Kind {
    /// Those that this machine has; none without `COMPOSE_SCALE_TEST_REAL=1`.
    pub(crate) fn all() -> Vec<Self> {
        let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        if set("COMPOSE_SCALE_TEST_REAL").as_deref() != Some("1") {
            assert_ne!(
                set("CI").as_deref(),
                Some("true"),
                "COMPOSE_SCALE_TEST_REAL must be 1 where CI is true"
            );
            eprintln!("skipped: COMPOSE_SCALE_TEST_REAL=1 runs this with real nginx");
            return Vec::new();
        }
        let image = |name, default: &str| Self::Image(set(name).unwrap_or_else(|| default.into()));
        let mut kinds = vec![
            image("COMPOSE_SCALE_TEST_NGINX_NEW", "nginx:1.30"),
            image(
                "COMPOSE_SCALE_TEST_NGINX_OLD",
                "compose-scale/test-nginx:1.22",
            ),
        ];
        let program = set("COMPOSE_SCALE_TEST_NGINX_PROGRAM");
        let program = program.expect(
            "COMPOSE_SCALE_TEST_NGINX_PROGRAM must be set: the path of an nginx that runs on this host",
        );
        kinds.push(Self::Program(program.into()));
        kinds
    }
}

/// An nginx that is told about backends.
pub(crate) struct Rig {
    pub(crate) nginx: NginxProxy<Only<Reach>>,
    pub(crate) port: u16,
    dir: TempDir,
    kind: Kind,
    child: Option<Child>,
}

impl Rig {
    /// Started with an upstream of these backends. `http` and `location` are added to its
    /// configuration.
    pub(crate) async fn start(
        kind: &Kind,
        backends: &[&Backend],
        http: &str,
        location: &str,
    ) -> Self {
        let mut rig = Self::stopped(kind, http, location);
        // It would not start without an upstream, as it does where a name server knows the name.
        let error = rig.publish(backends).await.unwrap_err();
        assert!(error.to_string().contains("it is not running"), "{error}");
        rig.run().await;
        rig
    }

    pub(crate) fn stopped(kind: &Kind, http: &str, location: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let root = dir.path();
        fs::create_dir(root.join("upstreams")).unwrap();
        let (inside, scratch) = match kind {
            Kind::Image(_) => ("/etc/nginx", "/tmp"),
            Kind::Program(_) => (root.to_str().unwrap(), root.to_str().unwrap()),
        };
        let temporary: Vec<String> = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|what| format!("{what}_temp_path {scratch}/{what};"))
            .to_vec();
        let text = format!(
            "worker_processes 2;\nerror_log stderr notice;\npid {scratch}/nginx.pid;\nevents {{}}\n\
             http {{\n    access_log off;\n    {}\n    {http}\n    include {inside}/upstreams/*.conf;\n    \
             server {{\n        listen 127.0.0.1:{port};\n        location / {{\n            \
             proxy_pass http://web;\n            include {inside}/upstreams/web.location;\n            \
             {location}\n        }}\n    }}\n}}\n",
            temporary.join("\n    ")
        );
        files::replace(&root.join("nginx.conf"), text.as_bytes()).unwrap();
        let reach = match kind {
            Kind::Image(_) => Reach::Engine {
                engine: Arc::new(Docker::connect(None).unwrap()),
                id: ContainerId(format!(
                    "compose-scale-test-nginx-{}-{port}",
                    std::process::id()
                )),
            },
            Kind::Program(_) => {
                let pid_file = Some(root.join("nginx.pid"));
                Reach::Host(HostNginx::new(pid_file, false, root.to_owned()))
            }
        };
        let setup = NginxSetup::new("shop", root.join("upstreams"));
        Self {
            nginx: NginxProxy::new(Only::new(reach), setup),
            port,
            dir,
            kind: kind.clone(),
            child: None,
        }
    }

    pub(crate) async fn run(&mut self) {
        let root = self.dir.path().to_str().unwrap();
        match (&self.kind, &**self.nginx.fleet()) {
            (Kind::Image(image), Reach::Engine { id, .. }) => {
                let started = docker(&[
                    "run",
                    "--detach",
                    "--rm",
                    "--network",
                    "host",
                    "--name",
                    &id.0,
                    "--volume",
                    &format!("{root}/nginx.conf:/etc/nginx/nginx.conf:ro"),
                    "--volume",
                    &format!("{root}/upstreams:/etc/nginx/upstreams:ro"),
                    image,
                    "nginx",
                    "-g",
                    "daemon off;",
                ])
                .await;
                assert_eq!(started.code, 0, "{}", started.stderr);
            }
            (Kind::Program(program), _) => {
                let child = Command::new(program)
                    .args([
                        "-e",
                        "stderr",
                        "-p",
                        root,
                        "-c",
                        &format!("{root}/nginx.conf"),
                    ])
                    .args(["-g", "daemon off;"])
                    .stderr(Stdio::null())
                    .spawn();
                self.child = Some(child.unwrap());
            }
            _ => unreachable!("kind and reach are made together"),
        }
        let port = self.port;
        let accepts = async {
            while tokio::net::TcpStream::connect(("127.0.0.1", port))
                .await
                .is_err()
            {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(DEADLINE, accepts).await.expect("nginx listens");
        // It listens before it has workers, and before its process id can be read.
        let serves = async {
            while !matches!(self.nginx.fleet().processes().await, Ok(p) if p.len() > 2) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(DEADLINE, serves).await.expect("nginx has workers");
    }

    pub(crate) async fn publish(&self, backends: &[&Backend]) -> Result<PublishResult, ProxyError> {
        self.publish_balanced(backends, Balance::LeastConn).await
    }

    pub(crate) async fn publish_balanced(
        &self,
        backends: &[&Backend],
        balance: Balance,
    ) -> Result<PublishResult, ProxyError> {
        let servers = backends
            .iter()
            .zip(1..)
            .map(|(backend, number)| UpstreamServer {
                number,
                name: format!("shop-web-{number}-{}", backend.name),
                address: backend.address,
                weight: Balance::FULL,
            });
        let upstream = Upstream {
            service: "web".into(),
            balance,
            servers: servers.collect(),
        };
        timeout(DEADLINE, self.nginx.publish(&[upstream]))
            .await
            .expect("a publish ends")
    }

    /// The directory of upstreams as nginx sees it.
    pub(crate) fn inside(&self) -> String {
        match self.kind {
            Kind::Image(_) => "/etc/nginx/upstreams".into(),
            Kind::Program(_) => format!("{}/upstreams", self.dir.path().display()),
        }
    }

    /// Adds a server of the user's that listens on this port.
    pub(crate) fn add_server(&self, port: u16) {
        let text = format!("server {{ listen 127.0.0.1:{port}; }}\n");
        let path = self.dir.path().join("upstreams/user.conf");
        files::replace(&path, text.as_bytes()).unwrap();
    }

    /// Starts again with another bound on how long a reload may take.
    pub(crate) fn set_patience(&mut self, confirm_within: Duration) {
        let setup = NginxSetup {
            confirm_within,
            ..NginxSetup::new("shop", self.dir.path().join("upstreams"))
        };
        self.nginx = NginxProxy::new(Only::new((**self.nginx.fleet()).clone()), setup);
    }

    pub(crate) fn file(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join("upstreams").join(name)).unwrap()
    }

    pub(crate) async fn workers(&self) -> Vec<u32> {
        let processes = self.nginx.fleet().processes().await.unwrap();
        let workers = processes.iter().filter(|p| p.args.contains("worker"));
        let mut pids: Vec<u32> = workers.map(|p| p.pid).collect();
        pids.sort_unstable();
        pids
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Reach::Engine { id, .. } = &**self.nginx.fleet() {
            let _ = std::process::Command::new("docker")
                .args(["rm", "--force", &id.0])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
        }
        if let Some(pid) = self.child.as_ref().and_then(Child::id) {
            let _ = std::process::Command::new("kill")
                .args(["-TERM", &pid.to_string()])
                .status();
        }
    }
}

pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}
