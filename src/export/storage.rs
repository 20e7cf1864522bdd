//! Volumes: claims for named ones, directories of the pod for the others.

use std::{collections::BTreeMap, path::Path};

use k8s_openapi::{
    api::core::v1::{
        EmptyDirVolumeSource, PersistentVolumeClaim, PersistentVolumeClaimSpec,
        PersistentVolumeClaimVolumeSource, Volume, VolumeMount, VolumeResourceRequirements,
    },
    apimachinery::pkg::api::resource::Quantity,
};

use super::{Object, Remarks, ServiceSubject, names};
use crate::project::{self, Project};

/// The name of each named volume.
pub(super) fn names(project: &Project) -> BTreeMap<String, String> {
    let used = project
        .services
        .values()
        .flat_map(|service| &service.volumes);
    let used = used.filter(|volume| volume.kind == "volume");
    let mut keys: Vec<&str> = used.filter_map(|volume| volume.source.as_deref()).collect();
    keys.sort_unstable();
    keys.dedup();
    names::unique(keys, "volume")
}

fn named<'a>(
    subject: &'a ServiceSubject<'_>,
) -> impl Iterator<Item = (&'a str, &'a project::Volume)> {
    let volumes = subject.service.volumes.iter();
    let named = volumes.filter(|volume| volume.kind == "volume");
    named.filter_map(|volume| Some((volume.source.as_deref()?, volume)))
}

/// Whether two pods of a service must not run at a time because of what they write.
pub(super) fn writes_alone(subject: &ServiceSubject<'_>) -> bool {
    !subject.may_be_many() && named(subject).any(|(_, volume)| !volume.read_only)
}

/// A claim for each named volume that is used.
pub(super) fn claims(wanted: &[ServiceSubject<'_>]) -> Vec<Object> {
    let Some(first) = wanted.first() else {
        return Vec::new();
    };
    let mut users: BTreeMap<&str, Vec<&ServiceSubject<'_>>> = BTreeMap::new();
    for subject in wanted {
        for (key, _) in named(subject) {
            let all = users.entry(key).or_default();
            if !all.iter().any(|known| known.name == subject.name) {
                all.push(subject);
            }
        }
    }
    users
        .into_iter()
        .map(|(key, users)| claim(first, key, &users))
        .collect()
}

fn claim(subject: &ServiceSubject<'_>, key: &str, users: &[&ServiceSubject<'_>]) -> Object {
    let mut told = Remarks::default();
    let place = format!("volumes.{key}");
    let size = subject.request.volume_size;
    told.chosen(
        &place,
        format!("compose knows no size, so it asks for {size}"),
        "`--volume-size`, or spec.resources.requests.storage",
    );
    told.chosen(
        &place,
        "it begins empty, where Docker fills a new volume from the image",
        "copy the data over before the first start (docs: outgrow.md, The data)",
    );
    if users.len() > 1 || users.iter().any(|user| user.may_be_many()) {
        told.chosen(
            &place,
            "several pods mount it, which ReadWriteOnce allows on one node only",
            "accessModes: [ReadWriteMany] and a StorageClass that has it, as soon as there are two nodes",
        );
    }
    if let Some(volume) = subject.request.project.volumes.get(key) {
        if volume.external {
            told.chosen(
                &place,
                "it is external: somebody else made it, and this claim is a new one",
                "name the claim that there is, or keep this one",
            );
        }
        let options = &volume.options;
        let local = matches!(volume.driver.as_deref(), None | Some("" | "local"));
        if !local || !options.is_empty() {
            let driver = volume.driver.as_deref().unwrap_or("local");
            told.lost(
                format!("{place}.driver"),
                format!("the driver {driver} and its options are Docker's"),
                "a StorageClass for the same storage (NFS: csi-driver-nfs), named in spec.storageClassName",
            );
        }
    }
    let metadata = subject.metadata_of_all(&subject.shared.volumes[key]);
    let storage = Quantity(size.to_owned());
    told.object(&PersistentVolumeClaim {
        metadata,
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), storage)])),
                limits: None,
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    })
}

/// The volumes and mounts of a service's pods.
pub(super) fn mounts(
    subject: &ServiceSubject<'_>,
    told: &mut Remarks,
) -> (Vec<Volume>, Vec<VolumeMount>) {
    let mut pod = Mounts {
        subject,
        volumes: Vec::new(),
        at: Vec::new(),
    };
    for volume in &subject.service.volumes {
        pod.volume(volume, told);
    }
    for (path, size) in &subject.service.workload.memory_mounts {
        pod.memory(path, *size);
    }
    if let Some(size) = subject.service.workload.shm_size {
        pod.memory("/dev/shm", size);
    }
    (pod.volumes, pod.at)
}

struct Mounts<'a> {
    subject: &'a ServiceSubject<'a>,
    volumes: Vec<Volume>,
    at: Vec<VolumeMount>,
}

impl Mounts<'_> {
    fn volume(&mut self, volume: &project::Volume, told: &mut Remarks) {
        let place = self.subject.place(&format!("volumes.{}", volume.target));
        let source = volume.source.as_deref();
        // The API refuses such a path, which is one of Windows.
        if volume.target.contains(':') {
            told.lost(
                place,
                "a path with a colon, which Kubernetes does not mount at",
                "another path",
            );
            return;
        }
        match (volume.kind.as_str(), source) {
            ("volume", Some(key)) => self.claimed(key, volume, told),
            ("volume", None) => {
                told.chosen(
                    place,
                    "an anonymous volume becomes a directory of the pod, and ends with it",
                    "give the volume a name if its data matters",
                );
                let empty = EmptyDirVolumeSource::default();
                self.directory(&volume.target, empty);
            }
            ("bind", source) => {
                let source = source.unwrap_or_default();
                let below =
                    Path::new(source).strip_prefix(&self.subject.request.project.working_dir);
                let shown = below.map_or_else(
                    |_| source.to_owned(),
                    |below| format!("./{}", below.display()),
                );
                if source.ends_with("docker.sock") {
                    told.lost(
                        place,
                        "there is no Docker to talk to",
                        "find what the program does with it, and how it does that in Kubernetes",
                    );
                    return;
                }
                let fix = if volume.read_only {
                    "a file: name it in `configs` or `secrets` and export again; a directory: put it into the image"
                } else {
                    "data: make it a named volume and export again; code: put it into the image"
                };
                told.lost(
                    place,
                    format!(
                        "the bind mount of {shown}: a directory of this host is not on another one"
                    ),
                    fix,
                );
            }
            // Read with the sizes, by `memory`.
            ("tmpfs", _) => {}
            (kind, _) => told.lost(
                place,
                format!("a mount of type {kind}"),
                "look for a volume of the pod that does the same, and write it by hand",
            ),
        }
    }

    fn claimed(&mut self, key: &str, volume: &project::Volume, told: &mut Remarks) {
        let name = self.subject.shared.volumes[key].clone();
        if !self.volumes.iter().any(|known| known.name == name) {
            self.volumes.push(Volume {
                name: name.clone(),
                persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                    claim_name: name.clone(),
                    read_only: None,
                }),
                ..Volume::default()
            });
        }
        let below = self.subject.service.workload.subpaths.get(&volume.target);
        if below.is_some_and(|below| {
            below.starts_with('/') || below.split('/').any(|part| part == "..")
        }) {
            told.lost(
                self.subject.place(&format!("volumes.{}", volume.target)),
                "its subpath leads out of the volume",
                "a path below it",
            );
            return;
        }
        self.at.push(VolumeMount {
            name,
            mount_path: volume.target.clone(),
            sub_path: below.cloned(),
            read_only: volume.read_only.then_some(true),
            ..VolumeMount::default()
        });
    }

    fn memory(&mut self, path: &str, size: u64) {
        let empty = EmptyDirVolumeSource {
            medium: Some("Memory".to_owned()),
            size_limit: (size > 0).then(|| Quantity(size.to_string())),
        };
        self.directory(path, empty);
    }

    fn directory(&mut self, path: &str, empty: EmptyDirVolumeSource) {
        let wanted = names::label(path.trim_start_matches('/'), "dir");
        let taken = self.volumes.iter().map(|volume| volume.name.clone());
        let taken = taken.chain(self.subject.shared.volumes.values().cloned());
        let name = names::free(&names::with(&wanted, "dir"), &taken.collect());
        self.volumes.push(Volume {
            name: name.clone(),
            empty_dir: Some(empty),
            ..Volume::default()
        });
        self.at.push(VolumeMount {
            name,
            mount_path: path.to_owned(),
            ..VolumeMount::default()
        });
    }
}
