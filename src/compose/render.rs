//! The project as it was understood, for `config`: long forms, defaults filled in, and the same bytes
//! for the same input.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::Loaded;
use crate::{project::Service, units::Span};

/// A value as one writes it into a compose file.
pub fn yaml(value: &Value) -> String {
    serde_yaml::to_string(value).unwrap_or_default()
}

/// The project, its policies and its settings as one document.
pub fn to_json(loaded: &Loaded) -> Value {
    let plain = |value: serde_json::Result<Value>| value.unwrap_or(Value::Null);
    let mut services = Map::new();
    for (name, service) in &loaded.project.services {
        let mut value = plain(serde_json::to_value(service));
        if let (Some(map), Some(policy)) = (value.as_object_mut(), loaded.policies.get(name)) {
            map.insert("policy".to_owned(), plain(serde_json::to_value(policy)));
        }
        names_only(&mut value);
        as_compose_writes(&mut value, service);
        services.insert(name.clone(), value);
    }
    json!({
        "version": 1,
        "name": loaded.project.name,
        "working_dir": loaded.project.working_dir,
        "config_files": loaded.project.config_files,
        "services": services,
        "disabled_services": loaded.project.disabled_services,
        "settings": plain(serde_json::to_value(&loaded.settings)),
    })
}

/// Values of environment variables are nobody's business: of `KEY=value` in a hook the name is left.
fn names_only(service: &mut Value) {
    for hooks in ["post_start", "pre_stop"] {
        let hooks = service.get_mut(hooks).and_then(Value::as_array_mut);
        for hook in hooks.into_iter().flatten() {
            let variables = hook.get_mut("environment").and_then(Value::as_array_mut);
            for variable in variables.into_iter().flatten() {
                if let Some((name, _)) = variable.as_str().and_then(|text| text.split_once('=')) {
                    *variable = name.into();
                }
            }
        }
    }
}

/// Durations and sizes in the forms of `docker compose config`; those of `x-autoscale` stay in the
/// forms that it is written in.
fn as_compose_writes(value: &mut Value, service: &Service) {
    let span = |span: Option<Span>| span.map_or(Value::Null, |span| duration(span.0).into());
    value["stop_grace_period"] = span(service.stop_grace_period);
    if let Some(check) = &service.healthcheck {
        for (key, length) in [
            ("interval", check.interval),
            ("timeout", check.timeout),
            ("start_period", check.start_period),
            ("start_interval", check.start_interval),
        ] {
            value["healthcheck"][key] = span(length);
        }
    }
    let memory = service.limits.memory;
    value["limits"]["memory"] = memory.map_or(Value::Null, |bytes| bytes.0.to_string().into());
}

/// As Go's `time.Duration` writes itself: `1h0m0s`, `1m30.5s`, `1.5ms`.
fn duration(length: Duration) -> String {
    let nanos = length.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    for (unit, name) in [(1_000, "ns"), (1_000_000, "µs"), (1_000_000_000, "ms")] {
        if nanos < unit {
            return format!(
                "{}{name}",
                decimal(nanos * 1_000 / unit, nanos * 1_000 % unit, unit)
            );
        }
    }
    let (seconds, rest) = (length.as_secs(), nanos % 1_000_000_000);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let seconds = decimal((seconds % 60).into(), rest, 1_000_000_000);
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

/// `whole` and so many of `of` parts, without zeros at the end.
fn decimal(whole: u128, parts: u128, of: u128) -> String {
    if parts == 0 {
        return whole.to_string();
    }
    let digits = of.ilog10() as usize;
    let parts = format!("{parts:0digits$}");
    format!("{whole}.{}", parts.trim_end_matches('0'))
}

/// The same document as YAML.
pub fn to_yaml(loaded: &Loaded) -> String {
    yaml(&to_json(loaded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_go_writes_them() {
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (2_200_000, "2.2ms"),
            (999_000_000, "999ms"),
            (3_300_000_000, "3.3s"),
            (60_000_000_000, "1m0s"),
            (90_500_000_000, "1m30.5s"),
            (3_600_000_000_000, "1h0m0s"),
            (93_601_500_000_000, "26h0m1.5s"),
            (1_000_000_001, "1.000000001s"),
        ] {
            assert_eq!(duration(Duration::from_nanos(nanos)), text);
        }
    }
}
