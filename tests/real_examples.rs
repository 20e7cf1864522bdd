//! The example projects of `compose/nginx-*` do what they say, as a newcomer would run them.

#![expect(
    clippy::disallowed_methods,
    reason = "files of a test that nobody reads meanwhile"
)]

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use support::{
    api, needed, prefix, real,
    stack::{new_nginx, now},
};
use tempfile::TempDir;

const DEADLINE: Duration = Duration::from_secs(20);

/// A copy of one example's directory, with projects and networks named like all that tests make.
struct Example {
    root: TempDir,
    unique: String,
    port: u16,
    /// Directories of projects that are up, in the order of their start.
    up: Vec<PathBuf>,
    network: Option<String>,
}

impl Example {
    fn copy(name: &str) -> Self {
        let root = TempDir::new().expect("a directory");
        let source = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("compose")
            .join(name);
        copy(&source, root.path());
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        Self {
            root,
            unique: format!("{}{}-{name}", prefix(), std::process::id()),
            port,
            up: Vec::new(),
            network: None,
        }
    }

    fn directory(&self, project: &str) -> PathBuf {
        self.root.path().join(project)
    }

    fn set(&self, mut command: Command, project: &str) -> Command {
        command
            .current_dir(self.directory(project))
            .env("PORT", self.port.to_string())
            .env("EDGE", format!("{}-edge", self.unique))
            .env("EDGE_NETWORK", format!("{}-net", self.unique))
            .env(
                "COMPOSE_PROJECT_NAME",
                format!("{}-{project}", self.unique).trim_end_matches('-'),
            )
            .env("COMPOSE_PROGRESS", "quiet")
            .env(
                "COMPOSE_SCALE_STATE",
                self.root.path().join(format!(".state-{project}")),
            )
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        command
    }

    fn compose(&self, project: &str, arguments: &[&str]) -> Output {
        let program = std::env::var("COMPOSE_SCALE_TEST_COMPOSE").expect("compose");
        let mut command = self.set(Command::new(program), project);
        command.args(arguments).output().expect("compose runs")
    }

    fn up(&mut self, project: &str) {
        self.up.push(PathBuf::from(project));
        let output = self.compose(project, &["up", "-d"]);
        assert!(output.status.success(), "{project}: {output:?}");
    }

    /// Runs the tool, which must end well, and returns what it printed.
    fn tool(&self, project: &str, arguments: &[&str]) -> String {
        let program = Command::new(env!("CARGO_BIN_EXE_compose-scale"));
        let mut command = self.set(program, project);
        let output = command.args(arguments).output().expect("the tool runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{project} {arguments:?}:\n{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        text
    }

    /// The status that a path of a site is answered with.
    fn status(&self, host: &str, path: &str) -> Option<u16> {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        )
        .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.split_whitespace().nth(1)?.parse().ok()
    }

    fn answers(&self, host: &str, path: &str) {
        let end = now() + DEADLINE;
        while self.status(host, path) != Some(200) {
            assert!(now() < end, "{host}{path} does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// How many servers an upstream lists.
    fn listed(&self, file: &str) -> usize {
        let text = fs::read_to_string(self.root.path().join(file)).expect("an upstream");
        text.lines().filter(|line| line.contains("; # ")).count()
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        for project in self.up.iter().rev() {
            let project = project.to_str().expect("a name");
            let down = ["down", "-v", "--timeout", "0"];
            let output = self.compose(project, &down);
            if !output.status.success() {
                eprintln!("{project} could not be taken down: {output:?}");
            }
        }
        if let Some(network) = &self.network {
            api::request("DELETE", &format!("/networks/{network}"), "");
        }
    }
}

fn copy(source: &Path, target: &Path) {
    fs::create_dir_all(target).expect("a directory");
    for entry in fs::read_dir(source).expect("an example") {
        let path = entry.expect("an entry").path();
        let target = target.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else if path.extension().is_none_or(|kind| kind != "location") {
            let text = fs::read_to_string(&path).expect("a text");
            // Whatever is called so on this machine.
            fs::write(&target, text.replace("nginx:1.30", &new_nginx())).expect("a copy");
        }
    }
}

#[test]
fn two_services_behind_an_nginx_of_their_project() {
    if !real() {
        return;
    }
    let mut example = Example::copy("nginx-service");
    example.up("");
    example.answers("localhost", "/");
    let said = example.tool("", &["check"]);
    assert!(said.contains("0 errors, 0 warnings"), "{said}");
    example.tool("", &["scale", "web=3", "api=2"]);
    assert_eq!(example.listed("nginx/upstreams/web.conf"), 3);
    assert_eq!(example.listed("nginx/upstreams/api.conf"), 2);
    example.answers("localhost", "/");
    example.answers("localhost", "/api/");
    example.tool("", &["scale", "web=1", "api=1"]);
    let said = example.tool("", &["check"]);
    assert!(said.contains("0 errors, 0 warnings"), "{said}");
}

#[test]
fn two_projects_behind_the_nginx_of_a_third() {
    if !real() {
        return;
    }
    let mut example = Example::copy("nginx-other-project");
    let network = format!("{}-net", example.unique);
    let body = serde_json::json!({ "Name": network }).to_string();
    let (status, answer) = api::request("POST", "/networks/create", &body);
    assert_eq!(status, 201, "{answer}");
    example.network = Some(network);
    for project in ["shop", "blog", "edge"] {
        example.up(project);
    }
    for (project, service, count) in [("shop", "shop-web", 3), ("blog", "blog.web", 2)] {
        let site = format!("{project}.localhost");
        example.answers(&site, "/");
        let said = example.tool(project, &["check"]);
        assert!(said.contains("0 errors, 0 warnings"), "{said}");
        example.tool(project, &["scale", &format!("{service}={count}")]);
        let file = format!("{project}/upstreams/{service}.conf");
        assert_eq!(example.listed(&file), count);
        example.answers(&site, "/");
    }
    // Another nginx of the same name, as after an update: the same files, no error.
    let again = example.compose("edge", &["up", "-d", "--force-recreate"]);
    assert!(again.status.success(), "{again:?}");
    for (project, service) in [("shop", "shop-web"), ("blog", "blog.web")] {
        example.answers(&format!("{project}.localhost"), "/");
        example.tool(project, &["scale", &format!("{service}=1")]);
        let said = example.tool(project, &["check"]);
        assert!(said.contains("0 errors, 0 warnings"), "{said}");
    }
}

/// What is done at the end, however the test ends.
struct End<F: Fn()>(F);

impl<F: Fn()> Drop for End<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn an_nginx_of_the_host_in_front_of_a_project() {
    let Some(program) = needed(
        "COMPOSE_SCALE_TEST_NGINX_PROGRAM",
        "the path of an nginx that runs on this host",
    ) else {
        return;
    };
    let mut example = Example::copy("nginx-host");
    let root = example.root.path().display().to_string();
    let site = fs::read_to_string(example.root.path().join("site.conf"))
        .expect("the site")
        .replace("/srv/nginx-host", &root)
        .replace("8081", &format!("127.0.0.1:{}", example.port));
    fs::create_dir(example.root.path().join("conf.d")).expect("a directory");
    let temporary: Vec<String> = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("{what}_temp_path {root}/{what};"))
        .to_vec();
    let main = format!(
        "error_log stderr;\npid {root}/nginx.pid;\nevents {{}}\nhttp {{\naccess_log off;\n{}\ninclude \
         {root}/conf.d/*.conf;\n}}\n",
        temporary.join("\n")
    );
    fs::write(example.root.path().join("nginx.conf"), main).expect("a file");
    // The example leaves it to be found; on the machine of a test there may be others.
    let file = example.root.path().join("compose.yaml");
    let yaml = fs::read_to_string(&file).expect("the example");
    fs::write(
        &file,
        yaml.replace("{host: true,", "{host: true, pid: ./nginx.pid,"),
    )
    .expect("a file");
    let nginx = |more: &[&str]| {
        let conf = format!("{root}/nginx.conf");
        let mut command = Command::new(&program);
        command
            .args(["-e", "stderr", "-p", &root, "-c", &conf])
            .args(more);
        let status = command.stdin(Stdio::null()).status();
        assert!(status.expect("nginx runs").success(), "{more:?}");
    };
    // As a service of the system is: a daemon.
    nginx(&[]);
    let _end = End(|| nginx(&["-s", "stop"]));
    example.up("");
    let program = Command::new(env!("CARGO_BIN_EXE_compose-scale"));
    let early = example
        .set(program, "")
        .arg("sync")
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&early.stderr).into_owned();
    assert!(said.contains("nginx does not read"), "{said}");
    fs::write(example.root.path().join("conf.d/shop.conf"), site).expect("a site");
    nginx(&["-t"]);
    nginx(&["-s", "reload"]);
    example.answers("localhost", "/");
    let said = example.tool("", &["check"]);
    assert!(said.contains("0 errors"), "{said}");
    example.tool("", &["scale", "web=3"]);
    assert_eq!(example.listed("upstreams/web.conf"), 3);
    example.answers("localhost", "/");
    example.tool("", &["scale", "web=1"]);
    example.answers("localhost", "/");
}
