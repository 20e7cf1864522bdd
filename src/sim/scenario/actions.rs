//! The actions of a scenario, done to the host and to `watch`.

use std::time::Duration;

use indexmap::IndexMap;

use super::{
    super::{
        clock,
        load_shape::LoadShape,
        run::{Simulation, Watch},
    },
    Expectation, ExpectationLog, PROJECT, Scenario, ScenarioAction,
    parser::set,
};
use crate::{
    control::{ControlRequest, Reply},
    project::labels,
    units::Span,
};

impl Scenario {
    pub(super) async fn carry_out(
        &self,
        deed: &ScenarioAction,
        simulation: &mut Simulation,
        watch: Option<Watch>,
        lines: &ExpectationLog,
    ) -> Option<Watch> {
        let host = simulation.host.clone();
        let at = host.world().elapsed();
        let ask = async |watch: &Option<Watch>, request| {
            let Some(watch) = watch else { return };
            if let Some(Reply::Done { ok: false, message }) = watch.ask(request).await {
                lines.say(host.world().elapsed(), Expectation::Log(message));
            }
        };
        match deed {
            ScenarioAction::Load(service, rate, over) => {
                host.world()
                    .change(service, |one| one.load.go(at, *rate, *over));
            }
            ScenarioAction::Daily(service, low, high) => {
                let of_day = self.setting.begins.as_second().rem_euclid(86_400);
                let begins = Duration::from_secs(of_day.unsigned_abs());
                host.world().change(service, |one| {
                    one.load = LoadShape::daily(*low, *high, begins);
                });
            }
            ScenarioAction::Noise(service, share) => {
                let seed = self.setting.seed;
                host.world().change(service, |one| {
                    one.load = one.load.clone().with_noise(*share, seed);
                });
            }
            ScenarioAction::End(name, code, oom) => {
                let mut world = host.world();
                let id = world.find(name).map(|one| one.id.clone());
                match id {
                    Some(id) => world.end(&id, *code, *oom),
                    None => lines.say(at, Expectation::Log(format!("there is no {name}"))),
                }
            }
            ScenarioAction::Compose(service, count) => host.world().compose_up(service, *count),
            ScenarioAction::EngineDown => {
                let mut world = host.world();
                world.judge.forces(None, at);
                world.engine_down = Some("connection refused".into());
                world.hang_up();
            }
            ScenarioAction::EngineUp => {
                let mut world = host.world();
                world.judge.forces(None, at);
                world.engine_down = None;
            }
            ScenarioAction::HangUp => host.world().hang_up(),
            ScenarioAction::NginxRefuses => {
                host.world().nginx_refuses =
                    Some("unknown directive \"sevrer\" in /etc/nginx/conf.d/site.conf:3".into());
            }
            ScenarioAction::NginxAccepts => host.world().nginx_refuses = None,
            ScenarioAction::NginxStops | ScenarioAction::NginxStarts => {
                let mut world = host.world();
                let id = world
                    .find(&world.name_of("nginx", 1))
                    .map(|one| one.id.clone());
                world.judge.forces(None, at);
                match (id, deed) {
                    (Some(id), ScenarioAction::NginxStops) => world.stop(&id),
                    (Some(id), _) => drop(world.start(&id)),
                    (None, _) => {}
                }
            }
            ScenarioAction::Befall(service, fate) => {
                host.world().change(service, |one| one.fate = *fate);
            }
            ScenarioAction::Change(service, pairs) => host.world().change(service, |one| {
                for (key, value) in pairs {
                    // It was tried when it was read.
                    let _ = set(&mut one.profile, key, value);
                }
            }),
            ScenarioAction::Clock(span) => clock::set_by(*span),
            ScenarioAction::Restart => {
                if let Some((_, memory)) = watch?.stop().await {
                    simulation.remember(memory);
                }
                return Some(self.start(simulation, lines));
            }
            ScenarioAction::Kill => {
                if let Some((_, memory)) = watch?.kill().await {
                    simulation.remember(memory);
                }
                return Some(self.start(simulation, lines));
            }
            ScenarioAction::Scale(service, count, hold) => {
                let services = IndexMap::from([(service.clone(), *count)]);
                let hold = Span(*hold);
                let wait = None;
                ask(
                    &watch,
                    ControlRequest::Scale {
                        services,
                        hold,
                        wait,
                    },
                )
                .await;
            }
            ScenarioAction::Suspend(service, directions) => {
                let request = ControlRequest::Pause {
                    services: vec![service.clone()],
                    directions: *directions,
                    span: None,
                };
                ask(&watch, request).await;
            }
            ScenarioAction::Resume(service) => {
                let services = vec![service.clone()];
                ask(&watch, ControlRequest::Resume { services }).await;
            }
            ScenarioAction::Say(text) => lines.say(at, Expectation::Said(text.clone())),
            ScenarioAction::ForeignContainer => {
                let mut world = host.world();
                let of = |project, oneoff, number| {
                    [
                        (labels::PROJECT, project),
                        (labels::SERVICE, "web"),
                        (labels::CONFIG_HASH, "0"),
                        (labels::ONEOFF, oneoff),
                        (labels::NUMBER, number),
                    ]
                };
                world.add_foreign("other-web-1", &of("other", "False", "1"));
                world.add_foreign("shop-web-run-1", &of(PROJECT, "True", "1"));
            }
        }
        watch
    }
}
