//! `--record`: the input of every decision, written down where it was asked for.

use tracing::{info, warn};

use super::{Driver, warn_once::Topic};
use crate::{decide::Input, engine::Engine, proxy::Proxy};

impl<E: Engine, P: Proxy> Driver<E, P> {
    /// Scaling goes on whether that works or not.
    pub(super) fn record(&mut self, input: &Input) {
        let Some(recording) = &self.recording else {
            return;
        };
        let file = recording.path().display();
        match recording.append(input) {
            Ok(()) => {
                if self.complaints.settle(Topic::Recording) {
                    info!("decisions are recorded in {file} again");
                }
            }
            Err(error) => {
                let why = format!("{file}: {error}");
                if self.complaints.raise(Topic::Recording, &why) {
                    warn!(error = why, "decisions are not recorded");
                }
            }
        }
    }
}
