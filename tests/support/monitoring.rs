//! `compose/monitoring` as the tests read it: its queries, its rules, and a Prometheus that answers them.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;

/// A file of the repository.
pub(crate) fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A YAML file of the repository.
pub(crate) fn yaml(path: &str) -> Value {
    serde_yaml::from_str(&file(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The dashboard.
pub(crate) fn dashboard() -> Value {
    let path = "compose/monitoring/grafana/dashboards/compose-scale.json";
    serde_json::from_str(&file(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The items of a list, which may be missing.
pub(crate) fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// An expression and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Query {
    /// In words, for whoever has to find it.
    pub(crate) origin: String,
    /// As it is written, with Grafana's variables.
    pub(crate) expr: String,
}

impl Query {
    /// What Prometheus is asked: one project, all services, windows that fit a test of seconds.
    pub(crate) fn filled(&self, project: &str) -> String {
        [
            ("$project", project),
            ("$service", ".+"),
            ("$__rate_interval", "5s"),
            ("$__interval", "2s"),
            ("$__range", "1m"),
            ("offset 1m", "offset 2s"),
        ]
        .iter()
        .fold(self.expr.clone(), |expr, (from, to)| expr.replace(from, to))
    }
}

/// Every expression of the dashboard: of panels, marks and variables.
pub(crate) fn dashboard_queries() -> Vec<Query> {
    let dashboard = dashboard();
    let mut all = Vec::new();
    for panel in items(&dashboard["panels"]) {
        for target in items(&panel["targets"]) {
            let name = |key: &str, value: &Value| super::text(&value[key]).to_owned();
            all.push(Query {
                origin: format!("panel {} {}", name("title", panel), name("refId", target)),
                expr: name("expr", target),
            });
        }
    }
    for mark in items(&dashboard["annotations"]["list"]) {
        if let Some(expr) = mark["expr"].as_str() {
            all.push(Query {
                origin: format!("mark {}", super::text(&mark["name"])),
                expr: expr.to_owned(),
            });
        }
    }
    for variable in items(&dashboard["templating"]["list"]) {
        let Some(query) = variable["query"]["query"].as_str() else {
            continue;
        };
        let inner = query
            .strip_prefix("label_values(")
            .and_then(|rest| rest.strip_suffix(')'));
        let (series, label) = inner
            .and_then(|inner| inner.rsplit_once(", "))
            .unwrap_or_else(|| panic!("a variable that is no label_values(): {query}"));
        all.push(Query {
            origin: format!("variable {}", super::text(&variable["name"])),
            expr: format!("group by ({label}) ({series})"),
        });
    }
    all
}

/// A rule of Prometheus.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    /// Of the alert, or of what is recorded.
    pub(crate) name: String,
    /// Whether it is an alert.
    pub(crate) alert: bool,
    /// Its expression.
    pub(crate) expr: String,
    /// The rule as it is written.
    pub(crate) source: Value,
}

/// All rules, those that record first.
pub(crate) fn rules() -> Vec<Rule> {
    let mut all = Vec::new();
    for name in ["recording", "alerts"] {
        let file = yaml(&format!("compose/monitoring/prometheus/rules/{name}.yml"));
        for rule in items(&file["groups"])
            .iter()
            .flat_map(|g| items(&g["rules"]))
        {
            let alert = rule["alert"].as_str();
            let name = alert.or(rule["record"].as_str()).expect("a name");
            all.push(Rule {
                name: name.to_owned(),
                alert: alert.is_some(),
                expr: super::text(&rule["expr"]).to_owned(),
                source: rule.clone(),
            });
        }
    }
    all
}

/// A series selector in an expression.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Selector {
    /// The metric's name.
    pub(crate) name: String,
    /// Label, operator and value of each matcher.
    pub(crate) matchers: Vec<(String, String, String)>,
}

impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let matchers: Vec<String> = self
            .matchers
            .iter()
            .map(|(label, operator, value)| format!("{label}{operator}\"{value}\""))
            .collect();
        write!(f, "{}{{{}}}", self.name, matchers.join(", "))
    }
}

/// What an expression is made of, as far as names go.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Its series.
    pub(crate) selectors: BTreeSet<Selector>,
    /// Labels in `by`, `without`, `on`, `ignoring` and `group_left`.
    pub(crate) grouping: BTreeSet<String>,
}

/// Reads an expression; no parser of the language, but enough to find every name.
pub(crate) fn names(expr: &str) -> Names {
    let mut found = Names::default();
    let mut rest = expr;
    while let Some(at) = rest.find(|c: char| c.is_ascii_alphanumeric() || "_:\"[$".contains(c)) {
        rest = &rest[at..];
        // Texts, windows and variables have no names in them.
        if let Some(end) = match rest.as_bytes()[0] {
            b'"' => Some('"'),
            b'[' => Some(']'),
            _ => None,
        } {
            let inner = &rest[1..];
            rest = &inner[inner.find(end).expect("its end") + 1..];
            continue;
        }
        let end = rest[1..]
            .find(|c: char| !c.is_ascii_alphanumeric() && !"_:.".contains(c))
            .map_or(rest.len(), |end| end + 1);
        let (word, after) = rest.split_at(end);
        let next = after.trim_start();
        rest = after;
        if matches!(word, "by" | "without" | "on" | "ignoring" | "group_left") {
            let list = next.strip_prefix('(').expect("a list of labels");
            let end = list.find(')').expect("its end");
            let labels = list[..end].split(',').map(str::trim);
            found.grouping.extend(labels.map(str::to_owned));
            rest = &list[end..];
        } else if word.starts_with(|c: char| c.is_ascii_digit() || c == '$')
            || matches!(word, "and" | "or" | "unless" | "offset" | "bool")
            || next.starts_with('(')
        {
        } else if ["sum", "min", "max", "count", "group"].contains(&word) {
            // Followed by its grouping.
        } else {
            let mut matchers = Vec::new();
            if let Some(list) = next.strip_prefix('{') {
                let end = list.find('}').expect("its end");
                matchers = list[..end].split(", ").map(matcher).collect();
                rest = &list[end..];
            }
            found.selectors.insert(Selector {
                name: word.to_owned(),
                matchers,
            });
        }
    }
    found
}

fn matcher(text: &str) -> (String, String, String) {
    let at = text.find(['=', '!']).expect("an operator");
    let (label, rest) = text.split_at(at);
    let (operator, value) = rest.split_once('"').expect("a value");
    let value = value.strip_suffix('"').expect("its end");
    (label.to_owned(), operator.to_owned(), value.to_owned())
}

/// Where the program of Prometheus is; says so when it is missing. In CI it must be there.
pub(crate) fn prometheus_program() -> Option<String> {
    super::part("COMPOSE_SCALE_TEST_PROMETHEUS")
}

/// A Prometheus with the configuration and the rules of `compose/monitoring`, every second.
pub(crate) struct Prometheus {
    child: Child,
    port: u16,
    _directory: TempDir,
}

impl Prometheus {
    /// Starts it; it watches this address.
    pub(crate) fn start(program: &str, target: &str) -> Self {
        let directory = TempDir::new().expect("a directory");
        let write = |name: &str, text: &str| -> PathBuf {
            let path = directory.path().join(name);
            fs::File::create(&path)
                .and_then(|mut file| file.write_all(text.as_bytes()))
                .expect("a file");
            path
        };
        let projects = write("projects.yml", &format!("- targets: [\"{target}\"]\n"));
        let rules =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("compose/monitoring/prometheus/rules");
        let configuration = file("compose/monitoring/prometheus/prometheus.yml")
            .replace("scrape_interval: 10s", "scrape_interval: 1s")
            .replace("evaluation_interval: 15s", "evaluation_interval: 1s")
            .replace("[rules/", &format!("[{}/", rules.display()))
            .replace("[projects.yml]", &format!("[{}]", projects.display()));
        let configuration = write("prometheus.yml", &configuration);
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a free port")
            .port();
        let child = Command::new(program)
            .arg(format!("--config.file={}", configuration.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                directory.path().join("data").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        Self {
            child,
            port,
            _directory: directory,
        }
    }

    /// What an expression gives now, or what Prometheus says against it.
    pub(crate) fn ask(&self, expr: &str) -> Result<Vec<Value>, String> {
        let query = super::percent_encoded(expr);
        let answer = self.get(&format!("/api/v1/query?query={query}"))?;
        if answer["status"] != "success" {
            return Err(answer["error"].to_string());
        }
        let result = &answer["data"]["result"];
        // A scalar is a pair and no list of series.
        Ok(if answer["data"]["resultType"] == "scalar" {
            vec![result.clone()]
        } else {
            items(result).to_vec()
        })
    }

    /// What a path of its API answers.
    pub(crate) fn get(&self, path: &str) -> Result<Value, String> {
        let read = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(20)))?;
            write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = read().map_err(|error| error.to_string())?;
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str(body).map_err(|error| format!("{error}: {body}"))
    }

    /// What an expression found within the last two minutes.
    fn ask_over_time(&self, expr: &str) -> Result<Vec<Value>, String> {
        let now = std::time::UNIX_EPOCH
            .elapsed()
            .map_err(|error| error.to_string())?
            .as_secs();
        let answer = self.get(&format!(
            "/api/v1/query_range?query={}&start={}&end={now}&step=1",
            super::percent_encoded(expr),
            now - 120,
        ))?;
        if answer["status"] != "success" {
            return Err(answer["error"].to_string());
        }
        Ok(items(&answer["data"]["result"]).to_vec())
    }

    /// Which of these queries find nothing in a project, or cannot be asked.
    pub(crate) fn unanswered(&self, project: &str, queries: &[Query]) -> Vec<String> {
        Self::left(project, queries, |expr| self.ask(expr))
    }

    /// The same for what happened within the last two minutes: marks are there for a moment only.
    pub(crate) fn unanswered_over_time(&self, project: &str, queries: &[Query]) -> Vec<String> {
        Self::left(project, queries, |expr| self.ask_over_time(expr))
    }

    fn left(
        project: &str,
        queries: &[Query],
        ask: impl Fn(&str) -> Result<Vec<Value>, String>,
    ) -> Vec<String> {
        queries
            .iter()
            .filter_map(|query| {
                let expr = query.filled(project);
                let why = match ask(&expr) {
                    Ok(found) if found.is_empty() => "no data".to_owned(),
                    Ok(_) => return None,
                    Err(error) => error,
                };
                Some(format!("{}: {why}: {expr}", query.origin))
            })
            .collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server that answers every request with a page of metrics, until it is dropped.
pub(crate) struct Exporter {
    /// Where it listens.
    pub(crate) address: String,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Exporter {
    /// Starts it; `page` is asked with how often it was before.
    pub(crate) fn start(page: impl Fn(u32) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let ends = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&ends);
        let thread = std::thread::spawn(move || {
            for (count, stream) in (0..).zip(listener.incoming()) {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(mut stream) = stream else { continue };
                let mut lines = BufReader::new(stream.try_clone().expect("a handle")).lines();
                while lines
                    .next()
                    .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
                {}
                let body = page(count);
                let _ = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\nContent-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n\
                     Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                    body.len()
                );
            }
        });
        Self {
            address,
            ends,
            thread: Some(thread),
        }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(&self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
