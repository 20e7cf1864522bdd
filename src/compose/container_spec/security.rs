//! What a container may do, and what it shares with other containers.

use std::collections::BTreeSet;

use serde_json::json;

use super::{super::tree::Node, SpecBuilder, read};
use crate::project::container_spec::SharedNamespace;

impl SpecBuilder<'_, '_> {
    /// In the Engine's spelling and in order.
    pub(super) fn capabilities(&mut self) {
        let sets = ["cap_add", "cap_drop"].map(|key| {
            let texts = self.node.get(key).and_then(read::texts);
            let all = texts.unwrap_or_default().into_iter().map(|text| {
                let name = text.trim().to_ascii_uppercase();
                if name == "ALL" || name == "RESET" || name.starts_with("CAP_") {
                    name
                } else {
                    format!("CAP_{name}")
                }
            });
            all.collect::<BTreeSet<String>>()
        });
        let [added, dropped] = sets;
        for (key, field, names) in [
            ("cap_add", "CapAdd", added),
            ("cap_drop", "CapDrop", dropped),
        ] {
            if names.contains("RESET") {
                self.refuse(key, "RESET is a word of the command line");
            }
            if !names.is_empty() {
                self.set_host(field, json!(names));
            }
        }
    }

    pub(super) fn security(&mut self, node: &Node) {
        let mut options = Vec::new();
        for option in read::texts(node).unwrap_or_default() {
            if option == "systempaths=unconfined" {
                self.set_host("MaskedPaths", json!([]));
                self.set_host("ReadonlyPaths", json!([]));
                continue;
            }
            let file = option
                .strip_prefix("seccomp=")
                .or_else(|| option.strip_prefix("seccomp:"));
            if file.is_some_and(|file| !matches!(file, "unconfined" | "builtin")) {
                self.refuse(
                    "security_opt",
                    "a seccomp profile is a file that compose rewrites",
                );
            }
            options.push(option);
        }
        self.set_host("SecurityOpt", json!(options));
    }

    /// A mode that may be that of another service's container.
    pub(super) fn shared_mode(&mut self, key: &str, field: &'static str, node: &Node) {
        let Some(mode) = node.as_text() else {
            return self.unread(key);
        };
        match mode.strip_prefix("service:") {
            Some(service) => self.recipe.shared.push(SharedNamespace {
                field,
                service: service.to_owned(),
            }),
            None if mode.is_empty() => {}
            None => self.set_host(field, json!(mode)),
        }
    }

    pub(super) fn volumes_from(&mut self, node: &Node) {
        // Compose passes over what follows the name, `:ro` too.
        for text in read::texts(node).unwrap_or_default() {
            let mut parts = text.split(':').map(ToOwned::to_owned);
            match (parts.next().unwrap_or_default(), parts.next()) {
                (kind, Some(container)) if kind == "container" => {
                    self.push_host("VolumesFrom", json!(container));
                }
                (service, _) => self.recipe.shared.push(SharedNamespace {
                    field: "VolumesFrom",
                    service,
                }),
            }
        }
    }
}
