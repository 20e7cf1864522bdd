//! Which replicas are behind the compose file: what compose would make now is asked at the start, when
//! the file has changed and when replicas of another kind have come, beside the loop and never on a
//! tick, because compose takes a moment to answer.

use std::collections::{BTreeMap, BTreeSet};

use indexmap::IndexMap;
use tracing::{debug, info, warn};

use super::bootstrap;
use crate::{
    compose::{self, Loaded},
    compose_cli::ComposeCli,
    engine::Engine,
    plan,
    reconcile::{Current, Drift, ServiceMachine},
};

/// What compose would make of each service now.
pub type Currents = BTreeMap<String, Current>;

/// What is known of it, and what was said.
#[derive(Debug, Default)]
pub(super) struct DriftRecord {
    current: Currents,
    /// Whether compose's own program is asked; it knows nothing of a simulation.
    asks: bool,
    /// It is to be asked (again).
    due: bool,
    asking: bool,
    /// Something has changed of which there may be something to say.
    news: bool,
    /// The kinds of replicas that there were, by service.
    kinds: BTreeMap<String, BTreeSet<(String, String)>>,
    /// What was said of a service: whether its configuration and its image are old.
    said: BTreeMap<String, (bool, bool)>,
}

impl DriftRecord {
    /// Compose is asked, or is not.
    pub(super) fn new(asks: bool) -> Self {
        Self {
            asks,
            ..Self::default()
        }
    }

    /// Whether compose's own program is asked.
    pub(super) fn asks(&self) -> bool {
        self.asks
    }

    /// The compose file may say something else now.
    pub(super) fn file_changed(&mut self) {
        self.due = true;
    }

    /// Takes what compose has answered.
    pub(super) fn answered(&mut self, current: Currents) {
        self.asking = false;
        self.news = true;
        self.current = current;
    }

    /// Looks at the replicas that there are now. Says whether compose is to be asked (again).
    pub(super) fn see(&mut self, machines: &IndexMap<String, ServiceMachine>) -> bool {
        for (name, machine) in machines {
            let kinds = machine.kinds();
            let before = self.kinds.get(name);
            if before != Some(&kinds) {
                self.due |= before.is_none_or(|before| !kinds.is_subset(before));
                self.news = true;
                self.kinds.insert(name.clone(), kinds);
            }
        }
        let seen = machines.values().any(|m| m.desired().is_some());
        let asks = seen && self.due && !self.asking;
        if asks {
            self.due = false;
            self.asking = true;
        }
        asks
    }

    /// Says once who is behind and once that it is over, where that may have changed.
    pub(super) fn tell(&mut self, loaded: &Loaded, machines: &IndexMap<String, ServiceMachine>) {
        if !std::mem::take(&mut self.news) {
            return;
        }
        let mut said = std::mem::take(&mut self.said);
        for (name, machine) in machines {
            if let Some(drift) = self.drift(loaded, machine) {
                let what = (drift.configuration, drift.image);
                if said.insert(name.clone(), what) == Some(what) {
                    // Said before.
                } else if !drift.is_known() {
                    info!(service = %name, "{drift}");
                } else {
                    warn!(
                        service = %name,
                        "{drift}; until then new replicas are clones of the running ones"
                    );
                }
            } else if let Some((configuration, image)) = said.remove(name) {
                // Not where it only cannot be told any more.
                let current = self.current.get(name).cloned().unwrap_or_default();
                let told = (!configuration || current.hash.is_some())
                    && (!image || current.image.is_some());
                if told {
                    info!(service = %name, "its replicas match the compose file");
                }
            }
        }
        self.said = said;
    }

    /// What there is to say of a service, with the project as it was loaded.
    pub(super) fn drift(&self, loaded: &Loaded, machine: &ServiceMachine) -> Option<Drift> {
        let current = self.current.get(machine.service())?;
        machine.drift(current, |count| fix(loaded, machine.service(), count))
    }
}

/// What to type so that replicas become as the file says, and stay as many: what it depends on is left
/// alone, which compose would set to the file's count and make anew as well.
pub fn fix(loaded: &Loaded, service: &str, count: u32) -> String {
    // The count goes with it also where the file has it: who types it may have other files at hand.
    loaded.typed(&plan::anew(service, count))
}

/// Asks compose and the Engine what the services that have a policy would be made of now. What cannot
/// be told stays open: no compose here, one that is too old, a file that it refuses. `reader` is the
/// command in whose environment the files are read.
pub async fn currents<E: Engine>(
    engine: &E,
    source: &compose::LoadRequest,
    loaded: &Loaded,
    reader: &str,
) -> Currents {
    let services: Vec<_> = loaded
        .policies
        .keys()
        .filter_map(|name| loaded.project.services.get(name))
        .collect();
    let hashable = services.iter().filter(|service| service.hashable);
    let names: Vec<_> = hashable.map(|service| service.name.as_str()).collect();
    let hashes = async {
        let cli = ComposeCli::find(false).await?;
        cli.hashes(&bootstrap::place(source, loaded, None), &names)
            .await
    };
    let mut hashes = hashes.await.unwrap_or_else(|error| {
        debug!(%error, "what compose would make now is not known");
        BTreeMap::new()
    });
    let mut currents = Currents::new();
    for service in services {
        let image = match &service.image {
            Some(name) => engine.image_id(name).await.unwrap_or_else(|error| {
                debug!(service = service.name, %error, "its image is not known");
                None
            }),
            None => None,
        };
        let hash = hashes.remove(&service.name);
        let current = Current {
            hash,
            image,
            variables: service.variables.clone(),
            reader: reader.to_owned(),
        };
        currents.insert(service.name.clone(), current);
    }
    currents
}
