//! What goes past the upstream that is kept in step, and what cuts requests short: read from the
//! configuration as a whole.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use super::{
    ConfigLocation, Configuration, PASSES,
    configuration::{DirectiveBlock, Statement},
    host_of, is_inside, time, with_host,
};

/// A name or an address that leads to a replica without our upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bypass {
    /// The directive.
    pub place: ConfigLocation,
    /// Its name: `proxy_pass`, `server` …
    pub directive: String,
    /// What it names, as written.
    pub target: String,
    /// How it is resolved.
    pub by: NameResolution,
}

impl Bypass {
    /// The directive as it leads to the upstream of a service.
    pub fn to_upstream(&self, service: &str) -> String {
        format!("{} {};", self.directive, self.target_of(service))
    }

    /// What it names, with the upstream of a service in the place of the host and its port.
    pub fn target_of(&self, service: &str) -> String {
        with_host(&self.target, service)
    }
}

/// How a name is resolved that goes past the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameResolution {
    /// When nginx starts or is reloaded.
    Pass,
    /// The same, in an upstream of the user's own.
    Server,
    /// By a variable: with every request, through the `resolver`.
    Variable,
    /// The same, because a variable follows a name with a port.
    Request,
}

/// The resolver that counts where a variable names a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolver {
    /// The directive that hands requests on.
    pub pass: ConfigLocation,
    /// The host that would have to be looked up.
    pub host: String,
    /// Where the resolver is set; `None` where there is none, so that requests fail.
    pub at: Option<ConfigLocation>,
    /// For how long it believes an answer; `None` as long as the answer says.
    pub valid: Option<Duration>,
    /// Whether it is the one inside of every container of the Engine.
    pub is_dockers: bool,
}

impl Configuration {
    /// Where requests get to a service past its upstream. `others` are further names and addresses of
    /// its replicas: `shop-web-1`, `10.0.0.2`, `127.0.0.1:8001`.
    pub fn bypasses(
        &self,
        service: &str,
        others: &BTreeSet<String>,
        directory: &str,
    ) -> Vec<Bypass> {
        let upstreams = self.upstreams();
        let is_other = |target: &str| {
            let (host, port) = host_of(target);
            let host = host.to_ascii_lowercase();
            let with_port = port.map(|port| format!("{host}:{port}"));
            !upstreams.contains(&host)
                && (others.contains(&host) || with_port.is_some_and(|one| others.contains(&one)))
        };
        let is_it = |target: &str| host_of(target).0.eq_ignore_ascii_case(service);
        let mut found = Vec::new();
        let mut add = |statement: &Statement, target: &str, by: NameResolution| {
            let place = statement.place.clone();
            found.push(Bypass {
                place,
                directive: statement.name.clone(),
                target: target.to_owned(),
                by,
            });
        };
        for statement in &self.statements {
            let Some(target) = statement.args.first() else {
                continue;
            };
            let block = self.block(statement);
            if PASSES.contains(&statement.name.as_str()) && self.is_within(statement, "http") {
                let (host, port) = host_of(target);
                let looked_up = port.is_some() && target.contains('$') && !host.contains('$');
                if is_other(target) {
                    add(statement, target, NameResolution::Pass);
                } else if looked_up && is_it(target) {
                    add(statement, target, NameResolution::Request);
                }
                for value in self.targets(target) {
                    // A name without a port finds the upstream.
                    let with_port = is_it(&value) && host_of(&value).1.is_some();
                    if with_port || is_other(&value) {
                        add(statement, &value, NameResolution::Variable);
                    }
                }
            } else if statement.name == "server"
                && block.name == "upstream"
                && !is_ours(block, directory)
                && !block
                    .args
                    .iter()
                    .any(|name| name.eq_ignore_ascii_case(service))
                && (is_it(target) || is_other(target))
            {
                add(statement, target, NameResolution::Server);
            }
        }
        found
    }

    /// The first place where requests are handed to a service by its name, whichever way: as the name of
    /// its upstream, with a port, through a variable, or through an upstream of the user's own.
    pub fn way_to(&self, service: &str, directory: &str) -> Option<ConfigLocation> {
        let passes = self.look_for(service, directory).passes.into_iter();
        let bypasses = self.bypasses(service, &BTreeSet::new(), directory);
        let bypasses = bypasses.into_iter().map(|bypass| bypass.place);
        passes.map(|pass| pass.place).chain(bypasses).next()
    }

    /// Where a variable may name a host that is no upstream of `known` or of the configuration.
    pub fn resolvers(&self, known: &BTreeSet<String>) -> Vec<Resolver> {
        let upstreams = self.upstreams();
        let mut found = Vec::new();
        for statement in &self.statements {
            let target = statement.args.first().filter(|_| {
                PASSES.contains(&statement.name.as_str()) && self.is_within(statement, "http")
            });
            for value in target.map_or_else(Vec::new, |target| self.targets(target)) {
                let (host, port) = host_of(&value);
                let host = host.to_ascii_lowercase();
                let is_upstream =
                    port.is_none() && (upstreams.contains(&host) || known.contains(&host));
                if is_upstream || host.is_empty() || host.contains('$') || is_address(&host) {
                    continue;
                }
                found.push(self.resolver(statement, host));
            }
        }
        found
    }

    fn resolver(&self, pass: &Statement, host: String) -> Resolver {
        let levels = self.levels(pass).into_iter();
        let mut set = levels.filter_map(|level| {
            let mut here = self.statements.iter().filter(|one| one.block == level);
            here.find(|one| one.name == "resolver")
        });
        let set = set.next();
        let words = set.map_or(&[][..], |one| one.args.as_slice());
        let valid = words.iter().find_map(|word| word.strip_prefix("valid="));
        Resolver {
            pass: pass.place.clone(),
            host,
            at: set.map(|one| one.place.clone()),
            valid: valid.and_then(time),
            is_dockers: words.iter().any(|word| host_of(word).0 == "127.0.0.11"),
        }
    }

    /// After which time a reload cuts off what old workers still do; `None` where it never does.
    pub fn shutdown_timeout(&self) -> Option<(Duration, ConfigLocation)> {
        let mut all = self.statements.iter();
        let set = all.find(|one| one.name == "worker_shutdown_timeout")?;
        Some((time(set.args.first()?)?, set.place.clone()))
    }

    /// The longest that nginx waits for an answer of a service, where that is written.
    pub fn patience_for(&self, service: &str) -> Option<(Duration, ConfigLocation)> {
        let passes = self.statements.iter().filter(|one| {
            let target = one.args.first();
            PASSES.contains(&one.name.as_str())
                && target.is_some_and(|target| {
                    host_of(target).0.eq_ignore_ascii_case(service)
                        || self.finds_by_variable(target, service)
                })
        });
        let each = passes.filter_map(|pass| {
            let of_it = format!("{}_read_timeout", pass.name.trim_end_matches("_pass"));
            self.levels(pass).into_iter().find_map(|level| {
                let mut here = self.statements.iter().filter(|one| one.block == level);
                let set = here.find(|one| one.name == of_it)?;
                Some((time(set.args.first()?)?, set.place.clone()))
            })
        });
        each.max()
    }

    /// The names of all upstreams, in lower case.
    fn upstreams(&self) -> BTreeSet<String> {
        let blocks = self.blocks.iter().filter(|block| block.name == "upstream");
        let names = blocks.filter_map(|block| block.args.first());
        names.map(|name| name.to_ascii_lowercase()).collect()
    }

    /// What a target may be whose host is a variable, with the port that is behind that.
    pub(super) fn targets(&self, target: &str) -> Vec<String> {
        let values = variable(target).map_or_else(Vec::new, |name| self.values(name));
        let port = host_of(target).1;
        let with_port = |value: &str| match (host_of(value).1, port) {
            (None, Some(port)) => format!("{value}:{port}"),
            _ => value.to_owned(),
        };
        values.into_iter().map(with_port).collect()
    }

    /// Whether the host is a variable that may be the name of a service and nothing else, which finds
    /// its upstream.
    pub(super) fn finds_by_variable(&self, target: &str, service: &str) -> bool {
        let is_it = |value: &String| {
            let (host, port) = host_of(value);
            port.is_none() && host.eq_ignore_ascii_case(service)
        };
        self.targets(target).iter().any(is_it)
    }

    /// What a variable may be, as far as `set` and `map` tell.
    fn values(&self, name: &str) -> Vec<&str> {
        let mut found = Vec::new();
        for statement in &self.statements {
            let block = self.block(statement);
            let is_it = |word: &String| word.strip_prefix('$') == Some(name);
            match statement.args.as_slice() {
                [variable, value] if statement.name == "set" && is_it(variable) => {
                    found.push(value.as_str());
                }
                [value]
                    if block.name == "map"
                        && statement.name != "include"
                        && block.args.get(1).is_some_and(is_it) =>
                {
                    found.push(value.as_str());
                }
                _ => {}
            }
        }
        found
    }
}

/// The variable that the whole host of a target is.
fn variable(target: &str) -> Option<&str> {
    let name = host_of(target).0.strip_prefix('$')?;
    let name = name
        .strip_prefix('{')
        .map_or(Some(name), |inner| inner.strip_suffix('}'))?;
    let is_one = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    (!name.is_empty() && is_one(name)).then_some(name)
}

fn is_ours(block: &DirectiveBlock, directory: &str) -> bool {
    is_inside(&block.place.file, directory)
}

fn is_address(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok() || host.starts_with('[') || host.starts_with("unix")
}

/// What of a set of passes is of one place: the same place is told once.
pub fn by_place(all: Vec<Bypass>) -> Vec<Bypass> {
    let mut first: BTreeMap<ConfigLocation, Bypass> = BTreeMap::new();
    for one in all {
        first.entry(one.place.clone()).or_insert(one);
    }
    first.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "# configuration file /etc/nginx/upstreams/web.conf:
upstream web { server 10.0.0.2:80; server 10.0.0.3:80; }
";

    /// An http level that includes our files, and this.
    fn with(http: &str) -> Configuration {
        Configuration::parse(&format!(
            "# configuration file /etc/nginx/nginx.conf:
events {{}}
http {{ include /etc/nginx/upstreams/*.conf;
{http}
}}
{OURS}"
        ))
    }

    fn past(http: &str) -> Vec<(String, NameResolution)> {
        let others = ["shop-web-1", "10.0.0.2", "127.0.0.1:8001", "site"];
        let others = others.map(str::to_owned).into_iter().collect();
        let found = with(http).bypasses("web", &others, "/etc/nginx/upstreams");
        let found = by_place(found).into_iter();
        found.map(|one| (one.target, one.by)).collect()
    }

    #[test]
    fn the_name_of_the_service_is_the_way_through_its_upstream() {
        assert_eq!(past("server { location / { proxy_pass http://web; } }"), []);
        let by_variable = "server { set $to web; location / { proxy_pass http://$to; } }";
        assert_eq!(past(by_variable), []);
    }

    #[test]
    fn a_name_with_a_port_and_a_variable_is_looked_up() {
        let http = "server { location / { proxy_pass http://web:80$request_uri; } }";
        let target = "http://web:80$request_uri".to_owned();
        assert_eq!(past(http), [(target, NameResolution::Request)]);
        assert_eq!(
            with(http).look_for("web", "/etc/nginx/upstreams").passes,
            []
        );
    }

    #[test]
    fn the_way_to_the_upstream_keeps_scheme_uri_and_variables() {
        for (target, to) in [
            ("http://shop-web-1:80/", "proxy_pass http://web/;"),
            (
                "https://10.0.0.2/api/?a=b",
                "proxy_pass https://web/api/?a=b;",
            ),
            (
                "http://web:80$request_uri",
                "proxy_pass http://web$request_uri;",
            ),
            ("http://site", "proxy_pass http://web;"),
            ("site:9000", "proxy_pass web;"),
        ] {
            let bypass = Bypass {
                place: ConfigLocation {
                    file: String::new(),
                    line: 1,
                },
                directive: "proxy_pass".into(),
                target: target.into(),
                by: NameResolution::Pass,
            };
            assert_eq!(bypass.to_upstream("web"), to);
        }
    }

    #[test]
    fn a_container_an_address_and_an_alias_go_past_it() {
        for host in ["shop-web-1", "10.0.0.2:80", "127.0.0.1:8001", "site:80"] {
            let http = format!("server {{ location / {{ proxy_pass http://{host}; }} }}");
            assert_eq!(
                past(&http),
                [(format!("http://{host}"), NameResolution::Pass)]
            );
        }
        assert_eq!(
            past("server { location / { proxy_pass http://127.0.0.1:9000; } }"),
            []
        );
    }

    #[test]
    fn an_upstream_of_ones_own_with_the_service_in_it_goes_past_it() {
        let http = "upstream site { server web:80; }
            server { location / { proxy_pass http://site; } }";
        assert_eq!(past(http), [("web:80".to_owned(), NameResolution::Server)]);
    }

    #[test]
    fn a_variable_with_a_port_is_looked_up_and_goes_past_it() {
        let set = "server { set $to http://web:80; location / { proxy_pass $to; } }";
        assert_eq!(
            past(set),
            [("http://web:80".to_owned(), NameResolution::Variable)]
        );
        let behind = "server { location / { proxy_pass http://web; }
            location /v { set $b web; proxy_pass http://$b:80; } }";
        assert_eq!(
            past(behind),
            [("web:80".to_owned(), NameResolution::Variable)]
        );
        let mapped = "map $uri $be { default web; }
            server { location / { proxy_pass http://$be:80/x; } }";
        assert_eq!(
            past(mapped),
            [("web:80".to_owned(), NameResolution::Variable)]
        );
        let published = "server { set $b 127.0.0.1; location / { proxy_pass http://$b:8001; } }";
        assert_eq!(
            past(published),
            [("127.0.0.1:8001".to_owned(), NameResolution::Variable)]
        );
        let map = "map $host $to { default shop-web-1; }
            server { location / { proxy_pass http://${to}/x; } }";
        assert_eq!(
            past(map),
            [("shop-web-1".to_owned(), NameResolution::Variable)]
        );
    }

    #[test]
    fn what_a_variable_names_needs_a_resolver_unless_it_is_an_upstream() {
        let resolvers = |http: &str| with(http).resolvers(&BTreeSet::new());
        let to = |value: &str, resolver: &str| {
            resolvers(&format!(
                "{resolver} server {{ set $to {value}; location / {{ proxy_pass http://$to; }} }}"
            ))
        };
        assert_eq!(to("web", ""), []);
        assert_eq!(to("10.0.0.9:80", ""), []);
        let [none] = to("api:80", "").try_into().unwrap();
        assert_eq!((none.host.as_str(), none.at), ("api", None));
        let behind = "server { set $to web; location / { proxy_pass http://$to:80; } }";
        assert_eq!(resolvers(behind).len(), 1);
        let [long] = to("api", "resolver 127.0.0.11;").try_into().unwrap();
        assert!(long.is_dockers && long.at.is_some());
        assert_eq!(long.valid, None);
        let [short] = to("api", "resolver 127.0.0.11 valid=5s;")
            .try_into()
            .unwrap();
        assert_eq!(short.valid, Some(Duration::from_secs(5)));
    }

    #[test]
    fn the_times_that_cut_requests_short_are_read_where_they_count() {
        let configuration = Configuration::parse(
            "# configuration file /etc/nginx/nginx.conf:
worker_shutdown_timeout 10s;
http { proxy_read_timeout 2m;
server { location / { proxy_pass http://web; }
location /slow { proxy_read_timeout 10m; proxy_pass http://web; }
location /other { proxy_read_timeout 1h; proxy_pass http://other; } } }
",
        );
        let (limit, place) = configuration.shutdown_timeout().unwrap();
        assert_eq!((limit, place.line), (Duration::from_secs(10), 1));
        let (patience, place) = configuration.patience_for("web").unwrap();
        assert_eq!((patience, place.line), (Duration::from_secs(600), 4));
        assert_eq!(with("").shutdown_timeout(), None);
        assert_eq!(with("").patience_for("web"), None);
    }
}
