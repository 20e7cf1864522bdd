//! The demonstration on the real Engine: a project in a directory of its own, brought up by compose,
//! visited over HTTP, and taken away at the end whatever happens.

use std::{fmt::Write as _, path::Path, process::Stdio, time::Duration};

use hyper::Uri;
use owo_colors::OwoColorize;
use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use super::{
    NEXT, clock, dots,
    load_generator::{RequestOutcomes, Visitors},
    put, said, told,
};
use crate::{
    cli::{
        Failure,
        driver_setup::{self, DriverOptions, Signals},
        engine, environment,
    },
    compose::{self, Loaded},
    compose_cli::{ComposeCli, ProjectLocation},
    control::{self, Call},
    engine::{Engine, Exec, docker::Docker},
    files,
    reconcile::{EventLevel, ScalingEvent, ServiceView},
    state::StateDir,
    telemetry::plain,
    units::Short,
    watch::{RunGoal, RunOutcome, bootstrap},
};

/// A look at how things are, every so often.
const LOOK: Duration = Duration::from_secs(1);
/// A line about it, so often at least.
const LINE: Duration = Duration::from_secs(5);
/// nginx answers by then, once compose is done.
const FIRST_ANSWER: Duration = Duration::from_secs(30);
/// The longest wait for an answer of the driver.
const ANSWER: Duration = Duration::from_secs(10);
/// Whatever compose does at the end is over by then.
const DOWN: Duration = Duration::from_secs(60);
/// Visitors a second on a quiet morning.
const QUIET: f64 = 20.0;

/// What happens.
enum DemoAction {
    Visitors(f64),
    Crash,
}

/// The story, by the second.
const STORY: &[(u64, &str, DemoAction)] = &[
    (
        10,
        "A link is shared: six times as many visitors.",
        DemoAction::Visitors(6.0 * QUIET),
    ),
    (
        30,
        "One of the replicas crashes under load.",
        DemoAction::Crash,
    ),
    (45, "The visitors leave.", DemoAction::Visitors(QUIET)),
];
const END: Duration = Duration::from_secs(75);

pub(super) async fn run(image: &str) -> Result<(), Failure> {
    let host = environment().remove("DOCKER_HOST").unwrap_or_default();
    if !host.is_empty() && !host.starts_with("unix:") {
        return Err(Failure::Usage(format!(
            "DOCKER_HOST is {host}: the demo mounts files of this machine, so it needs an Engine of this machine; without --engine docker it needs none"
        )));
    }
    let engine = engine()?;
    engine.ping().await?;
    let cli = ComposeCli::find(false).await;
    let cli = cli.map_err(|error| Failure::Work(vec![error.to_string()]))?;
    let directory = tempfile::Builder::new()
        .prefix("compose-scale-demo-")
        .tempdir()?;
    let (request, loaded) = project(directory.path(), image)?;
    let place = bootstrap::place(&request, &loaded, None);
    let mut stage = DemoProject {
        engine,
        cli,
        place,
        directory,
        signals: Signals::listen()?,
    };
    put(&format!(
        "This is `compose-scale watch` at work on the Docker Engine here, in a project of its own ({}) that is removed \
         at the end.\nEach ● is a replica that nginx sends requests to, each ○ a replica that starts or drains \
         requests.\n\nstarting nginx and two replicas\n",
        loaded.project.name
    ))?;
    let played = stage.play(request, loaded).await;
    let cleaned = stage.take_down().await;
    if let Some(all) = played? {
        put(&end(&all))?;
    }
    cleaned
}

/// The files of the project, in their directory, and how they are understood.
fn project(directory: &Path, image: &str) -> Result<(compose::LoadRequest, Loaded), Failure> {
    for made in ["upstreams", "logs"] {
        std::fs::create_dir(directory.join(made))?;
    }
    let environment_file = format!("DEMO_IMAGE={image}\n");
    for (name, text) in [
        ("compose.yaml", include_str!("compose.yaml")),
        ("page.conf", include_str!("page.conf")),
        ("site.conf", include_str!("site.conf")),
        (".env", environment_file.as_str()),
    ] {
        files::replace(&directory.join(name), text.as_bytes())?;
    }
    let mut env = environment();
    env.retain(|key, _| !key.starts_with("COMPOSE_") && key != "DEMO_IMAGE");
    let request = compose::LoadRequest {
        files: vec![directory.join("compose.yaml")],
        project_name: Some(format!("demo-{}", std::process::id())),
        cwd: directory.to_owned(),
        env,
        ..compose::LoadRequest::default()
    };
    let loaded = compose::load(&request)?;
    Ok((request, loaded))
}

struct DemoProject {
    engine: Docker,
    cli: ComposeCli,
    place: ProjectLocation,
    directory: TempDir,
    signals: Signals,
}

impl DemoProject {
    /// All of it; what became of the requests, unless it was interrupted.
    async fn play(
        &mut self,
        request: compose::LoadRequest,
        loaded: Loaded,
    ) -> Result<Option<RequestOutcomes>, Failure> {
        if !self.bring_up().await? {
            return Ok(None);
        }
        let page = self.page().await?;
        let state = self.directory.path().join("state");
        let at = [(
            "COMPOSE_SCALE_STATE".to_owned(),
            state.display().to_string(),
        )];
        let state = StateDir::locate(&at.into(), &loaded.project.name);
        let locks = vec![state.lock()?];
        let (calls, asked) = mpsc::channel(1);
        let (mut driver, notes) = driver_setup::driver(DriverOptions {
            loaded,
            source: Some(request),
            extra: Vec::new(),
            dry_run: false,
            state: Some(state),
            keeps_state: true,
            locks,
            calls: Some(asked),
            reload: None,
            recording: None,
            goal: RunGoal::Watch,
        })
        .await?;
        let visitors = Visitors::begin(page, QUIET);
        let (stop, abort) = (self.signals.stop.clone(), self.signals.abort.clone());
        let show = Show {
            began: Instant::now(),
            calls,
            engine: &self.engine,
            visitors,
        };
        let ends = stop.child_token();
        let (outcome, shown) = tokio::join!(driver.run(ends.clone(), abort), async {
            let shown = tokio::select! {
                shown = show.go_on(notes) => shown.map(Some),
                () = stop.cancelled() => Ok(None),
            };
            ends.cancel();
            shown
        });
        match outcome {
            RunOutcome::Done | RunOutcome::Interrupted => {}
            other => crate::cli::failure::outcome(other)?,
        }
        shown
    }

    /// Whether it is up, or was interrupted on the way.
    async fn bring_up(&mut self) -> Result<bool, Failure> {
        let mut command = self.cli.command(&self.place, &["up", "-d"]);
        // A pull takes a while, and compose shows how far it is.
        if crate::telemetry::log::may_draw() {
            command.stderr(Stdio::inherit());
        } else {
            command.stderr(Stdio::piped());
        }
        let child = command.stdout(Stdio::null()).spawn()?;
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let ended = child.wait_with_output();
        tokio::pin!(ended);
        let output = tokio::select! {
            output = &mut ended => output?,
            () = self.signals.stop.cancelled() => {
                // What it has begun is to be known before it is taken away.
                if let Some(group) = group {
                    let _ = kill_process_group(group, Signal::INT);
                }
                ended.await?;
                return Ok(false);
            }
        };
        if output.status.success() {
            return Ok(true);
        }
        let mut why = vec![format!(
            "`docker compose up` failed ({}); without --engine docker the demo needs no image",
            output.status
        )];
        why.extend(
            String::from_utf8_lossy(&output.stderr)
                .lines()
                .map(ToOwned::to_owned),
        );
        Err(Failure::Work(why))
    }

    /// Where nginx answers.
    async fn page(&self) -> Result<Uri, Failure> {
        let mut port = self.cli.command(&self.place, &["port", "nginx", "80"]);
        let output = port.output().await?;
        let address = String::from_utf8_lossy(&output.stdout);
        let uri = format!("http://{}/", address.trim()).parse();
        let uri: Uri =
            uri.map_err(|_| Failure::Work(vec![format!("nginx has no port: {address}")]))?;
        let answers = async {
            loop {
                let one = Visitors::begin(uri.clone(), 1.0);
                tokio::time::sleep(LOOK / 5).await;
                if !one.end().await.took.is_empty() {
                    return;
                }
            }
        };
        match timeout(FIRST_ANSWER, answers).await {
            Ok(()) => Ok(uri),
            Err(_) => Err(Failure::Work(vec![format!(
                "nginx does not answer at {uri} within {}s",
                FIRST_ANSWER.as_secs()
            )])),
        }
    }

    async fn take_down(&mut self) -> Result<(), Failure> {
        put("\nremoving the project\n")?;
        let mut down = self
            .cli
            .command(&self.place, &["down", "--volumes", "--timeout", "2"]);
        let gone = tokio::select! {
            gone = timeout(DOWN, down.output()) => gone,
            () = self.signals.abort.cancelled() => Ok(Err(std::io::ErrorKind::Interrupted.into())),
        };
        match gone {
            Ok(Ok(output)) if output.status.success() => Ok(()),
            _ => Err(Failure::Work(vec![format!(
                "the demo's project could not be removed; remove it by hand: docker compose -p {} down",
                self.place.project
            )])),
        }
    }
}

/// What is shown, second by second.
struct Show<'a> {
    began: Instant,
    calls: mpsc::Sender<Call>,
    engine: &'a Docker,
    visitors: Visitors,
}

impl Show<'_> {
    /// The story from beginning to end; what became of the requests.
    async fn go_on(
        self,
        mut notes: mpsc::UnboundedReceiver<ScalingEvent>,
    ) -> Result<RequestOutcomes, Failure> {
        let mut story = STORY.iter().peekable();
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut lined = None;
        let mut before = RequestOutcomes::default();
        let mut last = String::new();
        loop {
            tokio::select! {
                Some(note) = notes.recv() => {
                    if note.what.level() != EventLevel::Debug {
                        let at = clock(self.began.elapsed());
                        put(&format!("{at}  {}\n", told(&note)))?;
                    }
                }
                now = looks.tick() => {
                    let at = self.began.elapsed();
                    if at >= END {
                        return Ok(self.visitors.end().await);
                    }
                    let Some(web) = self.web().await else { continue };
                    if let Some((_, text, deed)) = story.next_if(|(from, _, _)| at.as_secs() >= *from) {
                        put(&said(text))?;
                        self.happen(deed, &web).await?;
                    }
                    let drawn = drawn(&web);
                    if drawn != last || lined.is_none_or(|then| now - then >= LINE) {
                        let seconds = lined.map_or(LOOK, |then| now - then).as_secs_f64();
                        let fates = self.visitors.fates();
                        let line = figures(&drawn, &fates, &before, seconds);
                        put(&format!("{}  web  {}\n", clock(at), line.dimmed()))?;
                        (lined, before, last) = (Some(now), fates, drawn);
                    }
                }
            }
        }
    }

    async fn web(&self) -> Option<ServiceView> {
        let asked = timeout(ANSWER, control::status(&self.calls)).await;
        asked.ok()??.services.into_iter().next()
    }

    async fn happen(&self, deed: &DemoAction, web: &ServiceView) -> Result<(), Failure> {
        match deed {
            DemoAction::Visitors(rate) => self.visitors.become_(*rate),
            DemoAction::Crash => {
                let Some(last) = web.replicas.iter().rfind(|replica| replica.in_nginx) else {
                    return Ok(());
                };
                let exec = Exec {
                    argv: ["nginx", "-s", "stop"].map(ToOwned::to_owned).into(),
                    ..Exec::default()
                };
                // It ends with the container it runs in, and may so fail.
                let _ = self.engine.exec(&last.id, &exec).await;
            }
        }
        Ok(())
    }
}

fn drawn(web: &ServiceView) -> String {
    let serving = web.serving as usize;
    let running = |one: &&crate::reconcile::ReplicaView| one.age.is_some();
    let running = web.replicas.iter().filter(running).count();
    dots(serving, running.saturating_sub(serving))
}

/// What became of the requests since the last line.
fn figures(drawn: &str, now: &RequestOutcomes, before: &RequestOutcomes, seconds: f64) -> String {
    let since = RequestOutcomes {
        took: now.took[before.took.len()..].to_vec(),
        failed: now.failed - before.failed,
        why: None,
    };
    let rate = since.count() as f64 / seconds;
    let mut text = format!("{drawn}{:>4}/s", format!("{rate:.0}"));
    if let Some(p95) = since.p95() {
        let _ = write!(text, ", p95 {}ms", Short(p95));
    }
    if since.failed > 0 {
        let _ = write!(text, ", {} failed", since.failed);
    }
    text
}

fn end(all: &RequestOutcomes) -> String {
    let mut text = format!(
        "\nSummary: {} requests, {} failed, 95% within {}ms\n",
        all.count(),
        all.failed,
        Short(all.p95().unwrap_or_default())
    );
    if let Some(why) = &all.why {
        let _ = writeln!(text, "the first failure: {}", plain(why));
    }
    text.push_str(NEXT);
    text
}
