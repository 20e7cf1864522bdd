//! The project as it was understood, for `config`: long forms, defaults filled in, and the same bytes
//! for the same input.

use serde_json::{Map, Value, json};

use super::Loaded;

/// The project, its policies and its settings as one document.
pub fn to_json(loaded: &Loaded) -> Value {
    let plain = |value: serde_json::Result<Value>| value.unwrap_or(Value::Null);
    let mut services = Map::new();
    for (name, service) in &loaded.project.services {
        let mut value = plain(serde_json::to_value(service));
        if let (Some(map), Some(policy)) = (value.as_object_mut(), loaded.policies.get(name)) {
            map.insert("policy".to_owned(), plain(serde_json::to_value(policy)));
        }
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

/// The same document as YAML.
pub fn to_yaml(loaded: &Loaded) -> String {
    serde_yaml::to_string(&to_json(loaded)).unwrap_or_default()
}
