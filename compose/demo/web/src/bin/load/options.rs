//! The command line.

use std::time::Duration;

pub(crate) const HELP: &str = "\
load: requests to a server on this machine, counted

usage: load --url http://127.0.0.1:PORT/PATH [OPTIONS]

What is sent (also the defaults of every --class):
      --url URL             only 127.0.0.1 and localhost are allowed
      --connections N       at most so many requests at the same time [1]
      --rps R               open loop: R requests a second, spread over the
                            connections; without it each sends as fast as it can
      --requests N          end after so many
      --duration TIME       end after so long (500ms, 30s, 2m)
                            [10s where --requests is not given either]
      --delay TIME          begin so much later [0s]
      --method METHOD       GET or POST [GET]
      --body-bytes N        length of the body [0]
      --keepalive BOOL      use a connection again [true]
      --peek BOOL           look whether the server closed an idle connection
                            before using it again, as Go, hyper and browsers do
                            [true]
      --timeout TIME        the longest wait for an answer [30s]

Several kinds of requests at the same time:
      --class NAME[:KEY=VALUE,...]
                            repeatable; keys: path, connections, rps, requests,
                            duration, delay, method, body-bytes, keepalive, peek,
                            timeout. `path` replaces that of the URL.
          --class fast:connections=16,rps=1000
          --class slow:path=/slow?ms=2000,method=POST,connections=12

Output:
      --json                one JSON document instead of text
      --hosts               count the answers by their body (for /host)
      --progress TIME       a line on stderr so often
  -h, --help

Every answer that is not 2xx, and every refused, reset, cut or late one counts as
failed. Nothing is sent twice. Ends early on SIGTERM or SIGINT, with the summary.
Exit code: 0 no request failed, 1 some failed, 2 usage.
";

pub(crate) enum Parsed {
    Run(Options),
    Help,
}

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) classes: Vec<Class>,
    pub(crate) json: bool,
    pub(crate) hosts: bool,
    pub(crate) progress: Option<Duration>,
}

/// One kind of request.
#[derive(Debug, Clone)]
pub(crate) struct Class {
    pub(crate) name: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) path: String,
    pub(crate) method: String,
    pub(crate) body_bytes: usize,
    pub(crate) connections: usize,
    pub(crate) rate: Option<f64>,
    pub(crate) requests: Option<u64>,
    pub(crate) duration: Option<Duration>,
    pub(crate) delay: Duration,
    pub(crate) keepalive: bool,
    pub(crate) peek: bool,
    pub(crate) timeout: Duration,
}

impl Class {
    fn new() -> Self {
        Self {
            name: "all".to_owned(),
            host: String::new(),
            port: 80,
            path: "/".to_owned(),
            method: "GET".to_owned(),
            body_bytes: 0,
            connections: 1,
            rate: None,
            requests: None,
            duration: None,
            delay: Duration::ZERO,
            keepalive: true,
            peek: true,
            timeout: Duration::from_secs(30),
        }
    }

    /// False where it has no such key.
    fn set(&mut self, key: &str, value: &str) -> Result<bool, String> {
        match key {
            "path" if value.starts_with('/') => value.clone_into(&mut self.path),
            "path" => return Err("it must begin with a slash".to_owned()),
            "connections" => self.connections = number(value, 1, 4096)?,
            "rps" => {
                let rate: f64 = value.parse().map_err(|_| "not a number")?;
                if !(0.001..=1_000_000.0).contains(&rate) {
                    return Err("between 0.001 and 1000000".to_owned());
                }
                self.rate = Some(rate);
            }
            "requests" => self.requests = Some(number(value, 1, usize::MAX)? as u64),
            "duration" => self.duration = Some(time(value)?),
            "delay" => self.delay = time(value)?,
            "method" if matches!(value, "GET" | "POST") => value.clone_into(&mut self.method),
            "method" => return Err("GET or POST".to_owned()),
            "body-bytes" => self.body_bytes = number(value, 0, 64 << 20)?,
            "keepalive" => self.keepalive = boolean(value)?,
            "peek" => self.peek = boolean(value)?,
            "timeout" => {
                self.timeout = time(value)?;
                if self.timeout.is_zero() {
                    return Err("more than 0".to_owned());
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Parsed, String> {
    let mut defaults = Class::new();
    let mut classes = Vec::new();
    let (mut json, mut hosts, mut progress, mut url) = (false, false, None, None);
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "-h" | "--help" => return Ok(Parsed::Help),
            "--json" => json = true,
            "--hosts" => hosts = true,
            _ => {
                let Some(option) = argument.strip_prefix("--") else {
                    return Err(format!("unexpected {argument:?}"));
                };
                let (key, value) = match option.split_once('=') {
                    Some((key, value)) => (key, value.to_owned()),
                    None => (
                        option,
                        arguments.next().ok_or(format!("--{option}: no value"))?,
                    ),
                };
                match key {
                    "url" => url = Some(value),
                    "class" => classes.push(value),
                    "progress" => {
                        progress =
                            Some(time(&value).map_err(|e| format!("--progress {value}: {e}"))?);
                    }
                    "path" => return Err("the path is part of --url".to_owned()),
                    _ => match defaults.set(key, &value) {
                        Ok(true) => {}
                        Ok(false) => return Err(format!("no option --{key}")),
                        Err(error) => return Err(format!("--{key} {value}: {error}")),
                    },
                }
            }
        }
    }
    let url = url.ok_or("--url is missing")?;
    read_url(&url, &mut defaults).map_err(|error| format!("--url {url}: {error}"))?;
    if progress.is_some_and(|every| every < Duration::from_millis(100)) {
        return Err("--progress: at least 100ms".to_owned());
    }
    let mut classes = classes
        .iter()
        .map(|text| read_class(text, &defaults).map_err(|error| format!("--class {text}: {error}")))
        .collect::<Result<Vec<_>, _>>()?;
    if classes.is_empty() {
        classes.push(defaults);
    }
    for class in &mut classes {
        if class.requests.is_none() && class.duration.is_none() {
            class.duration = Some(Duration::from_secs(10));
        }
    }
    Ok(Parsed::Run(Options {
        classes,
        json,
        hosts,
        progress,
    }))
}

fn read_class(text: &str, defaults: &Class) -> Result<Class, String> {
    let mut class = defaults.clone();
    let (name, settings) = text.split_once(':').unwrap_or((text, ""));
    if name.is_empty() || name.contains('=') {
        return Err("it begins with a name and a colon".to_owned());
    }
    name.clone_into(&mut class.name);
    for setting in settings.split(',').filter(|setting| !setting.is_empty()) {
        let (key, value) = setting
            .split_once('=')
            .ok_or(format!("{setting}: no value"))?;
        match class.set(key, value) {
            Ok(true) => {}
            Ok(false) => return Err(format!("no key {key}")),
            Err(error) => return Err(format!("{setting}: {error}")),
        }
    }
    Ok(class)
}

fn read_url(url: &str, class: &mut Class) -> Result<(), String> {
    let rest = url
        .strip_prefix("http://")
        .ok_or("it must begin with http://")?;
    let slash = rest.find('/').unwrap_or(rest.len());
    let (authority, path) = rest.split_at(slash);
    let (host, port) = authority.split_once(':').unwrap_or((authority, "80"));
    if !matches!(host, "127.0.0.1" | "localhost") {
        return Err("only this machine (127.0.0.1) gets load".to_owned());
    }
    authority.clone_into(&mut class.host);
    class.port = port.parse().map_err(|_| "bad port")?;
    if path
        .bytes()
        .any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control())
    {
        return Err("blanks in the path".to_owned());
    }
    if !path.is_empty() {
        path.clone_into(&mut class.path);
    }
    Ok(())
}

fn number(text: &str, least: usize, most: usize) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(format!("a number from {least} to {most}")),
    }
}

fn boolean(text: &str) -> Result<bool, String> {
    text.parse().map_err(|_| "true or false".to_owned())
}

fn time(text: &str) -> Result<Duration, String> {
    let split = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err("a time such as 500ms, 30s or 2m".to_owned()),
    };
    let number: f64 = number
        .parse()
        .map_err(|_| "a time such as 500ms, 30s or 2m")?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| "too long".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str) -> Result<Options, String> {
        match parse(line.split_whitespace().map(str::to_owned))? {
            Parsed::Run(options) => Ok(options),
            Parsed::Help => Err("help".to_owned()),
        }
    }

    #[test]
    fn classes_start_from_the_common_options() {
        let options = options(
            "--url http://127.0.0.1:8080/host --connections 4 --duration=2m --hosts \
             --class fast --class slow:path=/slow?ms=2000,method=POST,rps=2.5,keepalive=false",
        )
        .unwrap();
        let [fast, slow] = options.classes.as_slice() else {
            panic!("two classes")
        };
        assert_eq!(
            (fast.path.as_str(), fast.connections, fast.rate),
            ("/host", 4, None)
        );
        assert_eq!(
            (slow.path.as_str(), slow.connections, slow.rate),
            ("/slow?ms=2000", 4, Some(2.5))
        );
        assert_eq!(
            (slow.method.as_str(), slow.keepalive, slow.port),
            ("POST", false, 8080)
        );
        assert_eq!(slow.duration, Some(Duration::from_secs(120)));
    }

    #[test]
    fn other_hosts_get_no_load() {
        for url in [
            "http://10.0.0.1/",
            "http://127.0.0.1.example.com/",
            "https://127.0.0.1/",
        ] {
            assert!(options(&format!("--url {url}")).is_err(), "{url}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        let error = options("--url http://localhost:1/ --class a:rps=many").unwrap_err();
        assert_eq!(error, "--class a:rps=many: rps=many: not a number");
        assert_eq!(
            options("--url http://localhost/ --fast 1").unwrap_err(),
            "no option --fast"
        );
        assert_eq!(options("--rps 1").unwrap_err(), "--url is missing");
    }
}
