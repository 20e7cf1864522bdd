//! The text of a scenario.

use std::{fmt::Write as _, path::PathBuf, str::FromStr, time::Duration};

use indexmap::IndexMap;

use super::{
    super::{
        load_shape::LoadShape,
        profile::{Profile, Spread},
        run::Setting,
        simulated_host::{App, ReplicaFault},
    },
    PROJECT, Scenario, ScenarioAction, ScenarioError,
};
use crate::{compose, decide::Pause, units::Span};

/// The words of a line, and what is expected of them.
struct WordReader<'a> {
    words: std::str::SplitWhitespace<'a>,
}

impl<'a> WordReader<'a> {
    fn of(text: &'a str) -> Self {
        Self {
            words: text.split_whitespace(),
        }
    }

    fn word(&mut self, what: &str) -> Result<&'a str, String> {
        self.words.next().ok_or_else(|| format!("expected {what}"))
    }

    fn take<T: FromStr>(&mut self, what: &str) -> Result<T, String> {
        let word = self.word(what)?;
        parse(word, what)
    }

    fn span(&mut self) -> Result<Duration, String> {
        Ok(self.take::<Span>("a duration like 30s")?.0)
    }

    fn end(mut self) -> Result<(), String> {
        match self.words.next() {
            Some(word) => Err(format!("found `{word}`, expected nothing more")),
            None => Ok(()),
        }
    }
}

fn parse<T: FromStr>(word: &str, what: &str) -> Result<T, String> {
    word.parse()
        .map_err(|_| format!("found `{word}`, expected {what}"))
}

impl FromStr for Scenario {
    type Err = ScenarioError;

    fn from_str(text: &str) -> Result<Self, ScenarioError> {
        let mut reader = ScenarioReader::default();
        let mut last = 0;
        for (line, number) in text.lines().zip(1..) {
            last = number;
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |what| ScenarioError { line: number, what };
            reader.line(line).map_err(wrong)?;
        }
        reader
            .finish()
            .map_err(|what| ScenarioError { line: last, what })
    }
}

#[derive(Default)]
struct ScenarioReader {
    setting: Setting,
    policies: IndexMap<String, String>,
    settings: Option<String>,
    deeds: Vec<(Duration, String, ScenarioAction)>,
    show: Option<Duration>,
    run: Option<Duration>,
    flaps: u32,
}

impl ScenarioReader {
    fn line(&mut self, line: &str) -> Result<(), String> {
        let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
        let mut words = WordReader::of(rest);
        match first {
            "host" => {
                for (key, value) in pairs(words)? {
                    match key {
                        "cores" => self.setting.machine.cores = parse(value, "a number of cores")?,
                        "memory" => self.setting.machine.memory = parse(value, "a size like 8GiB")?,
                        _ => return Err(format!("found `{key}`, expected cores or memory")),
                    }
                }
                Ok(())
            }
            "seed" => {
                self.setting.seed = words.take("a whole number")?;
                words.end()
            }
            "begins" => {
                let what = "a time like 2026-01-01T08:00:00Z";
                self.setting.begins = words.take::<jiff::Timestamp>(what)?;
                words.end()
            }
            "settings" => {
                self.settings = Some(rest.to_owned());
                Ok(())
            }
            "service" => self.service(words),
            "policy" => {
                let name = words.word("a service")?;
                let text = rest.trim_start().strip_prefix(name).unwrap_or_default();
                self.policies
                    .insert(self.known(name)?, text.trim().to_owned());
                Ok(())
            }
            "show" => {
                self.show = Some(words.span()?);
                words.end()
            }
            "flaps" => {
                self.flaps = words.take("a whole number")?;
                words.end()
            }
            "run" => {
                self.run = Some(words.span()?);
                words.end()
            }
            "at" => {
                let at = words.span()?;
                let text = words.words.clone().collect::<Vec<_>>().join(" ");
                let deed = self.deed(words)?;
                self.deeds.push((at, text, deed));
                Ok(())
            }
            other => Err(format!(
                "found `{other}`, expected host, seed, begins, settings, service, policy, at, show, flaps or run"
            )),
        }
    }

    fn known(&self, name: &str) -> Result<String, String> {
        let mut apps = self.setting.apps.iter();
        apps.find(|(app, _)| app.service == name)
            .map(|(app, _)| app.service.clone())
            .ok_or_else(|| format!("no `service {name}` above"))
    }

    fn service(&mut self, mut words: WordReader<'_>) -> Result<(), String> {
        let name = words.word("a name")?;
        let mut app = App::named(name);
        for (key, value) in pairs(words)? {
            match key {
                "replicas" => app.replicas = parse(value, "a whole number")?,
                "load" => app.load = LoadShape::steady(parse(value, "requests per second")?),
                _ => set(&mut app.profile, key, value)?,
            }
        }
        self.setting.apps.push((app, None));
        Ok(())
    }

    fn deed(&self, mut words: WordReader<'_>) -> Result<ScenarioAction, String> {
        let deed = match words.word("what happens")? {
            "load" => {
                let service = self.known(words.word("a service")?)?;
                let rate = words.take("requests per second")?;
                let over = match words.words.next() {
                    None => Duration::ZERO,
                    Some("over") => words.span()?,
                    Some(other) => return Err(format!("found `{other}`, expected over")),
                };
                ScenarioAction::Load(service, rate, over)
            }
            "daily" => {
                let service = self.known(words.word("a service")?)?;
                let what = "requests per second";
                ScenarioAction::Daily(service, words.take(what)?, words.take(what)?)
            }
            "noise" => {
                let service = self.known(words.word("a service")?)?;
                ScenarioAction::Noise(service, words.take("a share like 0.2")?)
            }
            "crash" => ScenarioAction::End(words.word("a replica")?.to_owned(), 1, false),
            "oom" => ScenarioAction::End(words.word("a replica")?.to_owned(), 137, true),
            "compose" => {
                let service = self.known(words.word("a service")?)?;
                ScenarioAction::Compose(service, words.take("a whole number")?)
            }
            "engine" => match words.word("down, up or hangs-up")? {
                "down" => ScenarioAction::EngineDown,
                "up" => ScenarioAction::EngineUp,
                "hangs-up" => ScenarioAction::HangUp,
                other => return Err(format!("found `{other}`, expected down, up or hangs-up")),
            },
            "nginx" => match words.word("refuses, accepts, stops or starts")? {
                "refuses" => ScenarioAction::NginxRefuses,
                "accepts" => ScenarioAction::NginxAccepts,
                "stops" => ScenarioAction::NginxStops,
                "starts" => ScenarioAction::NginxStarts,
                other => {
                    return Err(format!(
                        "found `{other}`, expected refuses, accepts, stops or starts"
                    ));
                }
            },
            "replicas-of" => {
                let service = self.known(words.word("a service")?)?;
                let fate = match words.word("what becomes of them")? {
                    "are-fine" => ReplicaFault::Fine,
                    "never-become-ready" => ReplicaFault::NeverReady,
                    "die-at-once" => ReplicaFault::DiesAtOnce,
                    "cannot-start" => ReplicaFault::CannotStart,
                    other => {
                        return Err(format!(
                            "found `{other}`, expected are-fine, never-become-ready, die-at-once or cannot-start"
                        ));
                    }
                };
                ScenarioAction::Befall(service, fate)
            }
            "app" => {
                let service = self.known(words.word("a service")?)?;
                let pairs = pairs(WordReader {
                    words: std::mem::replace(&mut words.words, "".split_whitespace()),
                })?;
                let mut trial = Profile::default();
                for (key, value) in &pairs {
                    set(&mut trial, key, value)?;
                }
                let owned = pairs.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned()));
                ScenarioAction::Change(service, owned.collect())
            }
            "clock" => ScenarioAction::Clock(words.take("a span like 1h or -1h")?),
            "watch" => match words.word("restarts or is-killed")? {
                "restarts" => ScenarioAction::Restart,
                "is-killed" => ScenarioAction::Kill,
                other => return Err(format!("found `{other}`, expected restarts or is-killed")),
            },
            "scale" => {
                let service = self.known(words.word("a service")?)?;
                let count = words.take("a whole number")?;
                ScenarioAction::Scale(service, count, words.span()?)
            }
            "pause" => {
                let service = self.known(words.word("a service")?)?;
                let directions = match words.words.next() {
                    None => Pause::Both,
                    Some("up") => Pause::Up,
                    Some("down") => Pause::Down,
                    Some(other) => return Err(format!("found `{other}`, expected up or down")),
                };
                ScenarioAction::Suspend(service, directions)
            }
            "resume" => ScenarioAction::Resume(self.known(words.word("a service")?)?),
            "a-stranger-comes" => ScenarioAction::ForeignContainer,
            "say" => {
                let words: Vec<_> = words.words.collect();
                return Ok(ScenarioAction::Say(words.join(" ")));
            }
            other => {
                return Err(format!(
                    "found `{other}`, expected load, daily, noise, crash, oom, compose, engine, nginx, replicas-of, app, clock, watch, scale, pause, resume, say or a-stranger-comes"
                ));
            }
        };
        words.end()?;
        Ok(deed)
    }

    /// Policies and settings are read as those of a compose file are.
    fn finish(mut self) -> Result<Scenario, String> {
        let run = self.run.ok_or("expected `run` with a duration")?;
        let mut yaml = format!("name: {PROJECT}\nservices:\n");
        for (app, _) in &self.setting.apps {
            let name = &app.service;
            let _ = writeln!(yaml, "  {name}:\n    image: app:1\n    expose: ['80']");
            if let Some(limit) = app.profile.memory_limit {
                let _ = writeln!(yaml, "    mem_limit: {}", limit.0);
            }
            if let Some(policy) = self.policies.get(name) {
                let _ = writeln!(yaml, "    x-autoscale: {policy}");
            }
        }
        // Whoever reads load from nginx has to say where; here it is told anyhow.
        let logs = "nginx: {logs: {dir: ./logs, inside: /logs}}";
        let settings = self.settings.as_deref().unwrap_or("{}").trim();
        let settings = settings
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'));
        let settings = settings.ok_or("expected settings in braces, like {interval: 15s}")?;
        let _ = writeln!(yaml, "x-autoscale: {{{logs}, {settings}}}");
        let request = compose::LoadRequest {
            files: vec![PathBuf::from("-")],
            cwd: PathBuf::from("/"),
            stdin: Some(yaml),
            ..compose::LoadRequest::default()
        };
        let loaded = compose::load(&request).map_err(|error| error.to_string())?;
        self.setting.settings = loaded.settings;
        PROJECT.clone_into(&mut self.setting.project);
        for (app, policy) in &mut self.setting.apps {
            *policy = loaded.policies.get(&app.service).cloned();
            app.pick = Setting::pick(policy.as_ref());
        }
        self.deeds.sort_by_key(|(at, ..)| *at);
        Ok(Scenario {
            setting: self.setting,
            deeds: self.deeds,
            show: self.show,
            run,
            flaps: self.flaps,
        })
    }
}

fn pairs(words: WordReader<'_>) -> Result<Vec<(&str, &str)>, String> {
    words
        .words
        .map(|word| {
            word.split_once('=')
                .ok_or_else(|| format!("found `{word}`, expected KEY=VALUE"))
        })
        .collect()
}

/// Sets one property of an app.
pub(super) fn set(profile: &mut Profile, key: &str, value: &str) -> Result<(), String> {
    let span = |what| parse::<Span>(value, what).map(|span| span.0);
    match key {
        "time" => profile.service_time = span("a duration like 100ms")?,
        "start" => profile.start_time = span("a duration like 3s")?,
        "timeout" => profile.timeout = span("a duration like 60s")?,
        "concurrency" => profile.concurrency = parse(value, "a whole number")?,
        "backlog" => profile.backlog = parse(value, "a whole number")?,
        "cores" => profile.cores = parse(value, "a number of cores")?,
        "boot" => profile.boot_cores = parse(value, "a number of cores")?,
        "crashes" => profile.crashes = parse(value, "crashes per hour")?,
        "memory" => profile.memory = parse(value, "a size like 128MiB")?,
        "limit" => profile.memory_limit = Some(parse(value, "a size like 128MiB")?),
        "spread" => {
            profile.spread = match value {
                "fixed" => Spread::Fixed,
                "exponential" => Spread::Exponential,
                ratio => Spread::LogNormal(parse(ratio, "fixed, exponential or a ratio like 1.5")?),
            }
        }
        _ => {
            return Err(format!(
                "found `{key}`, expected time, spread, concurrency, backlog, timeout, cores, boot, start, memory, limit or crashes"
            ));
        }
    }
    Ok(())
}
