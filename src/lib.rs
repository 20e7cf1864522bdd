//! Autoscaling for plain `docker compose` on one server: the architecture page.
//!
//! What users see is in the README. This page says how the inside is cut, why, and where to look.
//!
//! # Layers
//!
//! Lower never imports higher. `tests/layers.rs` holds the table of who may use whom and enforces it.
//!
//! ```text
//! 6 edge       cli                                     one verb per file
//! 5 shell      sim                                     the driver on a host that is not there
//!              init                                    what a project lacks to be scaled, as files
//!              export                                  objects of Kubernetes
//!              notify                                  webhooks and commands that are told
//!              watch (the driver)  control  telemetry  the only select!, the only clock
//! 4 adapters   compose  compose_cli  engine  host          talk to the world, never to each other
//!              proxy  sources  state
//! 3 flow       reconcile                               one state machine per service
//! 2 judgement  decide  plan                            how many, and by which steps
//! 1 facts      project  policy  usage  traffic         what is there, what is wanted, what is used
//! 0 words      units  files                            shares, durations, moments; replacing a file
//! ```
//!
//! Layers 1 to 3 are pure: no runtime, no log, no clock, no I/O. `now` is an argument, and what is to
//! be done comes back as a value.
//!
//! # The life of a decision
//!
//! Every interval, for each service on its own:
//!
//! ```text
//! engine ──▶ CounterReading ──▶ usage::Window ──▶ decide::Input ──▶ decide() ──▶ Decision ──▶ plan() ──▶ Plan
//!            counters     shares of limits   + policy,          pure         count,        pure    steps
//!                                              history, hold                 reason
//! ```
//!
//! 1. [`watch`] reads counters through [`engine::Engine`] and hands them to the service's machine.
//! 2. A [`usage::Window`] makes shares of the replica's limits from two readings.
//! 3. [`decide::decide`] turns a [`decide::Input`] into a [`decide::Decision`]: a count, what each metric
//!    proposed, what limited it, and a [`decide::Reason`]. The input of every change goes into
//!    `scaling.log`, that of every decision where `--record` says; the same input gives the same
//!    decision for ever.
//! 4. [`plan::plan`] turns the wanted count into steps. A plan is data: `--dry-run` prints it and stops
//!    there, otherwise the machine asks for its steps as effects.
//!
//! # The life of a replica
//!
//! ```text
//!   Create ──▶ started ──▶ Probe … Ready ──▶ Route ──▶ Routed: it serves
//!                 │           │
//!                 └───────────┴─▶ failed: last log lines kept, removed, back off
//!
//!   it serves ──▶ chosen to leave ──▶ Route without it ──▶ Routed ──▶ Drained or drain.timeout
//!                                                                       └─▶ Retire: pre_stop, stop, remove
//!   it serves ──▶ died, unhealthy, paused ──▶ Route without it, at once ──▶ started again
//! ```
//!
//! The order on the way out is the point of the whole tool: a replica is stopped only after
//! [`proxy::Proxy::publish`] has confirmed that new requests go elsewhere and
//! [`proxy::Proxy::drained`] that none is left from before. nginx's reload overlaps, so "the reload
//! was accepted" proves neither; the state of its worker processes does.
//!
//! # Why it is cut like this
//!
//! **A machine without I/O.** A slow start, a crash and a reload can interleave in any order, and those
//! orders are where autoscalers lose requests. [`reconcile::ServiceMachine::handle`] takes one
//! [`reconcile::Event`] and the time, and returns [`reconcile::Effect`]s. It never waits and never
//! fails: whatever comes of an effect arrives as another event. So every interleaving is a plain test
//! without a daemon and without sleeping.
//!
//! **One driver.** [`watch::Driver`] owns all machines and the only loop. It carries effects out in tasks
//! of their own, so a service that is stuck delays no other, and gives each call a deadline. nginx is
//! shared by all services: one router in the driver gathers what they want into one reload at a time,
//! removals at once, additions a moment later.
//!
//! **Adapters.** [`compose::load`] reads files and asks no daemon. [`engine::Engine`] and
//! [`proxy::Proxy`] are traits with one real implementation each ([`engine::docker`],
//! [`proxy::nginx`]); what can be pure in them is ([`proxy::render`], [`proxy::inspect`]). They share
//! facts, never each other, so each is tested by itself against the real thing.
//!
//! **The containers are the truth.** Everything that matters is read from the containers and their labels.
//! [`state::StateDir`] holds what they cannot tell: history for stabilization and rates, counts held by
//! hand, pauses, who was being drained. Losing it loses history, never replicas; a run that was killed is
//! continued by the next one. A lock in it makes one process the actor of a project, and [`control`]
//! lets the others ask it.
//!
//! **A simulated host.** [`sim`] has an Engine, an nginx and their load in memory, and a clock that goes as
//! fast as the work allows; what runs on it is the driver itself. `simulate` tries policies with it, and
//! `tests/scenarios` tells whole stories in milliseconds, while a judge who knows nothing of the driver
//! looks at what it does. The load is a queue in front of each replica, one request after the other.
//!
//! # Where to look
//!
//! | question | place |
//! |---|---|
//! | Why this count? | [`decide`]: `recommend`, `service_level`, `burst`, `stabilize`, `limits` |
//! | Does the host have room for one more replica, and which service gets it? | [`host`], `watch::host_capacity`, `decide::memory_priority` |
//! | Which replica is removed, and which one is copied? | [`plan::selection`] |
//! | Why can a service have only one replica? | [`plan::blockers`] |
//! | What makes nginx unable to send requests to a service? | [`watch::nginx_preflight`] |
//! | When is a replica ready? | `watch::probe`; what follows: `reconcile::managed_replica` |
//! | How does a `die` event become a change of nginx? | `watch::driver::engine_events` hears it, [`reconcile`] decides, `watch::publish_scheduler` and [`proxy::nginx`] carry it out |
//! | How does a manual `scale` reach the loop? | `cli::scale`, [`control`], `watch::driver::requests`, `watch::pending_requests` |
//! | How is a clone made that compose takes for its own? | [`engine::docker`]: `clone` and `create_request` |
//! | How is a replica made when none is left to copy? | `watch::bootstrap`, [`project::remembered_replica`], [`compose_cli`] |
//! | What is written for nginx, and why each line? | [`proxy::render`] |
//! | How is a reload confirmed, rolled back, drained? | [`proxy::nginx`] |
//! | Where would a second proxy go? | beside [`proxy::nginx`], behind [`proxy::Proxy`] |
//! | How is a custom metric read? | [`sources`]; when, and for how long a value lasts: `watch::custom_metrics` |
//! | What follows from an event? | [`reconcile`]; its messages: [`reconcile::scaling_event`] |
//! | How is load read from nginx's log? | [`traffic`]; the file: [`proxy::log_tail`]; when: `watch::access_log_metrics` |
//! | What would a policy have done? | [`sim`]; its load: `sim::queue`; its rules: `sim::simulated_host::invariants` |
//! | Who is notified, and how are failures retried? | [`notify`] |
//! | What does `init` write, and for which services? | [`init`]: pure; `cli::init` writes it |
//! | What does a policy become on Kubernetes? | [`export::autoscale`] |
//! | What is allowed in `x-autoscale`? | [`policy::validate`] |
//! | What does a command do? | [`cli`], one file each |

pub mod files;
pub mod processes;
pub mod units;

pub mod policy;
pub mod project;
pub mod traffic;
pub mod usage;

pub mod decide;
pub mod plan;

pub mod reconcile;

pub mod compose;
pub mod compose_cli;
pub mod engine;
pub mod host;
pub mod proxy;
pub mod sources;
pub mod state;

pub mod control;
pub mod export;
pub mod init;
pub mod metrics;
pub mod notify;
pub mod screen;
pub mod sim;
pub mod telemetry;
pub mod watch;

pub mod cli;
