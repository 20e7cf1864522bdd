//! The project for an engine of many machines: objects of Kubernetes, and what of the project they
//! cannot say.
//!
//! Pure but for the files of configs and secrets, which the caller reads. Every object is one of
//! `k8s_openapi`, so that it cannot have a field that the API does not know; the text is the caller's.
//! Whatever is written in the compose file is carried over or named in a [`Remark`]: `keys` holds the
//! table, and a test holds it against the keys that compose knows.

use std::{collections::BTreeMap, io, path::Path};

use indexmap::IndexMap;
use k8s_openapi::{
    Resource, api::core::v1::Namespace, apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde::Serialize;
use serde_json::Value;

use object_names::ObjectNames;

pub use autoscale::Controller;
use autoscale::{AutoscaleSubject as Scaled, Autoscaler, autoscaler};
pub use ingress::{front, is_host};

use crate::{
    policy::{Policy, Settings},
    project::{Project, Service},
    proxy::inspect::Route,
};

pub mod autoscale;
mod config_secrets;
mod container;
mod ingress;
mod key_support;
mod names;
mod network;
mod object_names;
mod pdb;
mod pod;
mod probes;
mod project_notes;
mod security;
mod storage;
mod workload;
pub mod yaml;

/// Something of the project that does not carry over, or not wholly; or a choice that was made for it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Remark {
    /// Where it is written, as in `services.web.network_mode` or
    /// `services.web.x-autoscale.priority`.
    pub place: String,
    /// What is lost or different.
    pub what: String,
    /// What to do about it.
    pub fix: String,
}

/// An object to apply, with what belongs to it: that becomes comments above it.
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    /// The object, as the API has it.
    pub value: Value,
    /// What does not carry over.
    pub remarks: Vec<Remark>,
    /// What carries over by a choice that should be looked at.
    pub notes: Vec<Remark>,
}

impl Object {
    /// `Deployment`, `Service` …
    pub fn kind(&self) -> &str {
        self.value["kind"].as_str().unwrap_or_default()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.value["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// Its file: name and kind.
    pub fn file(&self) -> String {
        format!("{}-{}.yaml", self.name(), self.kind().to_ascii_lowercase())
    }
}

/// What is to be exported, and what for.
pub struct ExportRequest<'a> {
    /// The project.
    pub project: &'a Project,
    /// Its policies.
    pub policies: &'a IndexMap<String, Policy>,
    /// Its settings.
    pub settings: &'a Settings,
    /// These services only; all where none is named.
    pub services: &'a [String],
    /// The namespace to put everything in; the project's name where none is given.
    pub namespace: Option<&'a str>,
    /// The cluster's ingress controller.
    pub ingress: Controller,
    /// Host names of services, for the ingress.
    pub hosts: &'a BTreeMap<String, String>,
    /// Which requests the nginx of the project sends to whom; empty where that is not known.
    pub routes: &'a [Route],
    /// The cluster's Prometheus.
    pub prometheus: &'a str,
    /// The size of a volume, as Kubernetes writes it.
    pub volume_size: &'a str,
    /// Reads the file of a config or a secret.
    pub read: &'a dyn Fn(&Path) -> io::Result<Vec<u8>>,
}

/// The project as objects.
#[derive(Debug, Clone, PartialEq)]
pub struct Export {
    /// The namespace they are in.
    pub namespace: String,
    /// In the order in which they are applied.
    pub objects: Vec<Object>,
    /// What belongs to no object and does not carry over.
    pub remarks: Vec<Remark>,
    /// What belongs to no object and should be looked at.
    pub notes: Vec<Remark>,
}

impl Export {
    /// All that does not carry over, in order of objects, the project's own last.
    pub fn lost(&self) -> Vec<&Remark> {
        let of_objects = self.objects.iter().flat_map(|object| &object.remarks);
        of_objects.chain(&self.remarks).collect()
    }

    /// All that should be looked at, in the same order.
    pub fn chosen(&self) -> Vec<&Remark> {
        let of_objects = self.objects.iter().flat_map(|object| &object.notes);
        of_objects.chain(&self.notes).collect()
    }
}

/// Why nothing is exported.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// The command line names what is not there.
    #[error("{0}")]
    Usage(String),
    /// A file that is needed cannot be read.
    #[error("{0}")]
    File(String),
}

/// What is found on the way.
#[derive(Debug, Default)]
struct Remarks {
    remarks: Vec<Remark>,
    notes: Vec<Remark>,
}

impl Remarks {
    /// It does not carry over.
    fn lost(&mut self, place: impl Into<String>, what: impl Into<String>, fix: impl Into<String>) {
        put(&mut self.remarks, place.into(), what.into(), fix.into());
    }

    /// It carries over by a choice.
    fn chosen(
        &mut self,
        place: impl Into<String>,
        what: impl Into<String>,
        fix: impl Into<String>,
    ) {
        put(&mut self.notes, place.into(), what.into(), fix.into());
    }

    fn object<T: Resource + Serialize>(self, object: &T) -> Object {
        Object {
            value: serde_json::to_value(object).unwrap_or_default(),
            remarks: self.remarks,
            notes: self.notes,
        }
    }
}

fn put(all: &mut Vec<Remark>, place: String, what: String, fix: String) {
    let remark = Remark { place, what, fix };
    if !all.contains(&remark) {
        all.push(remark);
    }
}

/// One service on its way, with what all of them share.
#[derive(Clone, Copy)]
struct ServiceSubject<'a> {
    request: &'a ExportRequest<'a>,
    service: &'a Service,
    /// Its name in Kubernetes.
    name: &'a str,
    namespace: &'a str,
    policy: Option<&'a Policy>,
    /// The port that requests from outside go to, where they come through the ingress.
    door: Option<u16>,
    /// Whether it is done when its process has ended well.
    once: bool,
    /// What it has in common with others.
    shared: &'a ObjectNames,
}

impl ServiceSubject<'_> {
    /// `services.NAME.KEY`.
    fn place(&self, key: &str) -> String {
        format!("services.{}.{key}", self.service.name)
    }

    /// Labels that tell its pods from all others.
    fn selector(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            ("app.kubernetes.io/name".to_owned(), self.name.to_owned()),
            (
                "app.kubernetes.io/part-of".to_owned(),
                names::label(&self.request.project.name, "project"),
            ),
        ])
    }

    fn metadata(&self, name: &str) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(self.namespace.to_owned()),
            labels: Some(self.selector()),
            ..ObjectMeta::default()
        }
    }

    /// Of what belongs to no service alone.
    fn metadata_of_all(&self, name: &str) -> ObjectMeta {
        let mut metadata = self.metadata(name);
        if let Some(labels) = &mut metadata.labels {
            labels.remove("app.kubernetes.io/name");
        }
        metadata
    }

    /// What scales it, where it has a policy.
    fn autoscaler(&self) -> Option<Autoscaler> {
        Some(autoscaler(&Scaled {
            service: &self.service.name,
            name: self.name,
            namespace: self.namespace,
            port: self.door,
            policy: self.policy?,
            limits: self.service.limits,
            ingress: self.door.map(|_| self.request.ingress),
            prometheus: self.request.prometheus,
            names: &self.shared.services,
            labels: &self.selector(),
        }))
    }

    /// Whether there may be two of it at a time.
    fn may_be_many(&self) -> bool {
        let by_hand = self.service.scale.unwrap_or(1);
        self.policy
            .map_or(by_hand, |policy| policy.max.max(by_hand))
            > 1
    }
}

/// The project as objects of Kubernetes.
pub fn kubernetes(request: &ExportRequest<'_>) -> Result<Export, ExportError> {
    let project = request.project;
    for name in request.services.iter().chain(request.hosts.keys()) {
        if !project.services.contains_key(name) {
            return Err(no_such(project, name));
        }
    }
    let namespace = request
        .namespace
        .map_or_else(|| names::label(&project.name, "project"), ToOwned::to_owned);
    let front = front(project, request.policies, request.settings);
    if let Some((one, other)) = same_host(request) {
        return Err(ExportError::Usage(format!(
            "--host gives {one} and {other} the same name, and nothing tells whose a request for it is"
        )));
    }
    let is_wanted = |service: &&Service| {
        if request.services.is_empty() {
            service.image.is_some() && front.as_deref() != Some(service.name.as_str())
        } else {
            request.services.contains(&service.name)
        }
    };
    let services: Vec<&Service> = project.services.values().filter(is_wanted).collect();
    if let Some(service) = services.iter().find(|service| service.image.is_none()) {
        return Err(ExportError::Usage(format!(
            "{}: a provider runs it, so there is no container to export",
            service.name
        )));
    }
    let mut shared = ObjectNames::of(request, &services)?;
    shared.doors = ingress::doors(request, front.as_deref());
    let wanted: Vec<ServiceSubject<'_>> = services
        .into_iter()
        .map(|service| {
            let policy = request.policies.get(&service.name);
            ServiceSubject {
                request,
                service,
                name: &shared.services[&service.name],
                namespace: &namespace,
                policy,
                door: ingress::door(request, service, policy),
                once: workload::is_once(project, &service.name),
                shared: &shared,
            }
        })
        .collect();
    if let Some(name) = request.hosts.keys().find(|name| {
        let mut subjects = wanted
            .iter()
            .filter(|subject| subject.service.name == **name);
        subjects.all(|subject| subject.door.is_none())
    }) {
        return Err(ExportError::Usage(format!(
            "--host {name}=…: it has no Ingress here, because it has no policy with a port and nginx sends nothing to it"
        )));
    }
    let mut objects = vec![namespace_object(&namespace)];
    objects.extend(storage::claims(&wanted));
    objects.extend(config_secrets::files(&wanted));
    for subject in &wanted {
        objects.extend(config_secrets::environment(subject)?);
        let scaling = (!subject.once).then(|| subject.autoscaler()).flatten();
        let is_scaled = scaling.as_ref().is_some_and(|one| one.object.is_some());
        let mut workload = workload::object(subject, is_scaled);
        if let Some(scaling) = scaling {
            workload.remarks.extend(scaling.remarks);
            objects.push(workload);
            objects.extend(scaling.object);
        } else {
            objects.push(workload);
        }
        if !subject.once {
            objects.extend(network::services(subject));
            objects.extend(pdb::budget(subject));
        }
        objects.extend(ingress::ingress(subject));
    }
    let mut told = Remarks::default();
    project_notes::remarks(request, &wanted, front.as_deref(), &mut told);
    Ok(Export {
        namespace,
        objects,
        remarks: told.remarks,
        notes: told.notes,
    })
}

/// Two services with one host name, where no rules of nginx say more.
fn same_host<'a>(request: &'a ExportRequest<'_>) -> Option<(&'a str, &'a str)> {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    let mut hosts = request.hosts.iter().filter(|_| request.routes.is_empty());
    hosts.find_map(|(service, host)| Some((seen.insert(host, service)?, service.as_str())))
}

fn no_such(project: &Project, name: &str) -> ExportError {
    let all: Vec<_> = project.services.keys().map(String::as_str).collect();
    let off = project.disabled_services.iter().any(|off| off == name);
    let why = if off {
        "a profile switches it off; name the profile with --profile".to_owned()
    } else {
        format!("no such service; this project has {}", all.join(", "))
    };
    ExportError::Usage(format!("{name}: {why}"))
}

fn namespace_object(name: &str) -> Object {
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        ..ObjectMeta::default()
    };
    Remarks::default().object(&Namespace {
        metadata,
        ..Namespace::default()
    })
}

#[cfg(test)]
mod tests;
