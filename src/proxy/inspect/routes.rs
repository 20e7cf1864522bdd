//! Which requests go to whom, as a router with rules would say it.

use std::net::IpAddr;

use super::{ConfigLocation, Configuration, PASSES, Statement, host_of};

/// A place where requests are handed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The directive.
    pub place: ConfigLocation,
    /// Its name: `proxy_pass`, `grpc_pass` …
    pub by: String,
    /// Whom it leads to, by name: more than one where an upstream of that name has several.
    pub to: Vec<String>,
    /// The port, where one is written.
    pub port: Option<u16>,
    /// The host names of the server; none where it takes all.
    pub hosts: Vec<String>,
    /// Which paths.
    pub at: LocationMatch,
    /// What is handed on in place of the part of the path that matched, where that is something else.
    pub becomes: Option<String>,
}

/// Which paths a location is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocationMatch {
    /// All that begin so.
    Prefix(String),
    /// This one.
    Exact(String),
    /// Those that a pattern, or a condition inside of the location, picks.
    Pattern(String),
}

impl Configuration {
    /// All of them, in the order in which they are written.
    pub fn routes(&self) -> Vec<Route> {
        let passes = self.statements.iter().filter(|statement| {
            PASSES.contains(&statement.name.as_str()) && self.is_within(statement, "http")
        });
        passes.filter_map(|pass| self.route(pass)).collect()
    }

    fn route(&self, pass: &Statement) -> Option<Route> {
        let target = pass.args.first()?;
        let (host, port) = host_of(target);
        let members = self.members(host);
        let (to, port) = match members.as_slice() {
            [] => (vec![host.to_owned()], port.map(str::to_owned)),
            [(_, first), ..] => {
                let port = port.map(str::to_owned).or_else(|| first.clone());
                // Addresses are those of replicas: the upstream has the name of the service.
                let is_address = |(host, _): &(String, _)| host.parse::<IpAddr>().is_ok();
                let to = if members.iter().all(is_address) {
                    vec![host.to_owned()]
                } else {
                    members.into_iter().map(|(host, _)| host).collect()
                };
                (to, port)
            }
        };
        let levels = self.levels(pass);
        let around = |name: &str| {
            levels
                .iter()
                .copied()
                .find(|&at| self.blocks[at].name == name)
        };
        let server = around("server")?;
        let lines = self.statements.iter();
        let lines = lines.filter(|s| s.block == server && s.name == "server_name");
        let hosts = lines.flat_map(|s| &s.args);
        // `_` is a name that nobody has, for the server that takes all.
        let hosts = hosts.filter(|host| !matches!(host.as_str(), "_" | "" | "\"\""));
        let at = self.at(&levels, around("location")?);
        let path = target
            .split_once("://")
            .and_then(|(_, rest)| Some(&rest[rest.find('/')?..]));
        let becomes = path.filter(|path| match &at {
            LocationMatch::Prefix(prefix) => prefix != path,
            LocationMatch::Exact(exact) => exact != path,
            LocationMatch::Pattern(_) => true,
        });
        Some(Route {
            place: pass.place.clone(),
            by: pass.name.clone(),
            to,
            port: port.and_then(|port| port.parse().ok()),
            hosts: hosts.cloned().collect(),
            becomes: becomes.map(ToOwned::to_owned),
            at,
        })
    }

    /// The servers of an upstream with their ports; none where there is no such upstream.
    fn members(&self, name: &str) -> Vec<(String, Option<String>)> {
        let is_it = |at: usize| {
            let block = &self.blocks[at];
            block.name == "upstream"
                && matches!(block.args.as_slice(), [own] if own.eq_ignore_ascii_case(name))
        };
        let servers = self.statements.iter();
        let servers = servers.filter(|s| s.name == "server" && is_it(s.block));
        let hosts = servers.filter_map(|s| s.args.first()).map(|target| {
            let (host, port) = host_of(target);
            (host.to_owned(), port.map(str::to_owned))
        });
        hosts.collect()
    }

    fn at(&self, levels: &[usize], location: usize) -> LocationMatch {
        let block = &self.blocks[location];
        let inside = levels.iter().take_while(|&&level| level != location);
        let mut inside = inside.map(|&level| self.blocks[level].name.as_str());
        match block.args.as_slice() {
            _ if inside.any(|name| name == "if") => {
                LocationMatch::Pattern(format!("{} with an if", block.title()))
            }
            [path] if !path.starts_with('@') => LocationMatch::Prefix(path.clone()),
            [modifier, path] if modifier == "^~" => LocationMatch::Prefix(path.clone()),
            [modifier, path] if modifier == "=" => LocationMatch::Exact(path.clone()),
            _ => LocationMatch::Pattern(block.title()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_of_addresses_is_the_service_of_its_name() {
        let found = routes(
            "upstream web { server 172.25.0.2:8000; server 172.25.0.3:8000; } \
             server { location / { proxy_pass http://web; } }",
        );
        assert_eq!(
            (found[0].to.as_slice(), found[0].port),
            (&["web".to_owned()][..], Some(8000))
        );
    }

    fn routes(http: &str) -> Vec<Route> {
        let text = format!("# configuration file /etc/nginx/nginx.conf:\nhttp {{\n{http}\n}}\n");
        Configuration::parse(&text).routes()
    }

    #[test]
    fn hosts_and_paths_are_those_of_the_server_and_the_location() {
        let all = routes(
            "server { server_name shop.example.com www.example.com;
               location / { proxy_pass http://web; }
               location = /ping { proxy_pass http://web:8080/ping; }
               location ^~ /api/ { proxy_pass http://api/; }
               location ~ \\.php$ { fastcgi_pass php:9000; }
               location /sub { if ($x) { proxy_pass http://other; } } }
             server { server_name _; location /a { proxy_pass http://a/a; } }",
        );
        let shop = ["shop.example.com", "www.example.com"];
        let said: Vec<_> = all
            .iter()
            .map(|r| (r.to[0].as_str(), r.port, &r.at, r.becomes.as_deref()))
            .collect();
        let prefix = |path: &str| LocationMatch::Prefix(path.into());
        assert_eq!(
            said,
            [
                ("web", None, &prefix("/"), None),
                (
                    "web",
                    Some(8080),
                    &LocationMatch::Exact("/ping".into()),
                    None
                ),
                ("api", None, &prefix("/api/"), Some("/")),
                (
                    "php",
                    Some(9000),
                    &LocationMatch::Pattern("location ~ \\.php$".into()),
                    None
                ),
                (
                    "other",
                    None,
                    &LocationMatch::Pattern("location /sub with an if".into()),
                    None
                ),
                ("a", None, &prefix("/a"), None),
            ]
        );
        assert_eq!(all[0].hosts, shop);
        assert!(all[5].hosts.is_empty());
        assert_eq!(all[3].by, "fastcgi_pass");
    }

    #[test]
    fn an_upstream_is_those_that_it_leads_to() {
        let all = routes(
            "upstream back { least_conn; server web:8080; server web2:8080 backup; }
             server { location / { proxy_pass http://back; } }",
        );
        assert_eq!(all[0].to, ["web", "web2"]);
        assert_eq!(all[0].port, Some(8080));
    }
}
