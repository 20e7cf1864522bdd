//! Configs, secrets and environments: `ConfigMap` and Secret.

use std::{collections::BTreeMap, path::Path};

use k8s_openapi::{
    ByteString,
    api::core::v1::{
        ConfigMap, ConfigMapVolumeSource, EnvFromSource, EnvVar, KeyToPath, Secret,
        SecretEnvSource, SecretVolumeSource, Volume, VolumeMount,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use super::{ExportError, Object, Subject, Told, names};
use crate::project::workload::{Content, FileKind, MountedFile};

/// The most that a `ConfigMap` or a Secret holds.
const MOST: usize = 1024 * 1024;

/// Parts of a variable's name that say that its value is a secret.
const SECRET_WORDS: &[&str] = &[
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "SECRET",
    "TOKEN",
    "APIKEY",
    "API_KEY",
    "ACCESS_KEY",
    "PRIVATE_KEY",
    "CREDENTIAL",
];

/// The object that a file of this section is in.
fn object_name(file: &MountedFile) -> String {
    match &file.content {
        Content::External(name) => names::label(name, "file"),
        // A config and a secret may have one name.
        _ => names::with(
            &names::label(&file.name, "file"),
            match file.kind {
                FileKind::Config => "config",
                FileKind::Secret => "secret",
            },
        ),
    }
}

/// One object for each config and secret that is used.
pub(super) fn files(wanted: &[Subject<'_>]) -> Result<Vec<Object>, ExportError> {
    let mut all: BTreeMap<(FileKind, String), (&Subject<'_>, &MountedFile)> = BTreeMap::new();
    for subject in wanted {
        for file in &subject.service.workload.files {
            let key = (file.kind, file.name.clone());
            all.entry(key).or_insert((subject, file));
        }
    }
    let mut objects = Vec::new();
    for (subject, file) in all.into_values() {
        let bytes = match &file.content {
            Content::Text(text) => text.clone().into_bytes(),
            Content::File(path) => read(subject, file, path)?,
            Content::Unset(_) | Content::External(_) => continue,
        };
        objects.push(object(subject, file, bytes));
    }
    Ok(objects)
}

fn read(subject: &Subject<'_>, file: &MountedFile, path: &Path) -> Result<Vec<u8>, ExportError> {
    (subject.request.read)(path).map_err(|error| {
        ExportError::File(format!(
            "{}.{}.file: cannot read {}: {error}",
            file.kind.section(),
            file.name,
            path.display()
        ))
    })
}

fn object(subject: &Subject<'_>, file: &MountedFile, bytes: Vec<u8>) -> Object {
    let mut told = Told::default();
    let place = format!("{}.{}", file.kind.section(), file.name);
    if bytes.len() > MOST {
        told.lost(
            &place,
            format!(
                "{} bytes are more than the 1 MiB that a ConfigMap or a Secret holds, so the API refuses it",
                bytes.len()
            ),
            "put the file into the image or a volume",
        );
    }
    let metadata = shared_metadata(subject, &object_name(file));
    let key = names::data_key(&file.name);
    let text = String::from_utf8(bytes);
    match (file.kind, text) {
        (FileKind::Config, Ok(text)) => told.object(&ConfigMap {
            metadata,
            data: Some(BTreeMap::from([(key, text)])),
            ..ConfigMap::default()
        }),
        (FileKind::Config, Err(error)) => told.object(&ConfigMap {
            metadata,
            binary_data: Some(BTreeMap::from([(key, ByteString(error.into_bytes()))])),
            ..ConfigMap::default()
        }),
        (FileKind::Secret, text) => {
            secret_note(&place, &mut told);
            let mut secret = Secret {
                metadata,
                type_: Some("Opaque".to_owned()),
                ..Secret::default()
            };
            match text {
                Ok(text) => secret.string_data = Some(BTreeMap::from([(key, text)])),
                Err(error) => {
                    let bytes = ByteString(error.into_bytes());
                    secret.data = Some(BTreeMap::from([(key, bytes)]));
                }
            }
            told.object(&secret)
        }
    }
}

fn secret_note(place: &str, told: &mut Told) {
    told.chosen(
        place,
        "its value is in this file in clear",
        "keep the file out of version control, or replace it by a SealedSecret or an ExternalSecret",
    );
}

/// Of what belongs to no service alone.
fn shared_metadata(subject: &Subject<'_>, name: &str) -> ObjectMeta {
    let mut metadata = subject.metadata(name);
    if let Some(labels) = &mut metadata.labels {
        labels.remove("app.kubernetes.io/name");
    }
    metadata
}

/// Puts the volumes and mounts of a service's configs and secrets to those that there are.
pub(super) fn mounts(
    subject: &Subject<'_>,
    volumes: &mut Vec<Volume>,
    mounts: &mut Vec<VolumeMount>,
    told: &mut Told,
) {
    for file in &subject.service.workload.files {
        let section = file.kind.section();
        let place = subject.place(&format!("{section}.{}", file.name));
        if let Content::Unset(variable) = &file.content {
            told.lost(
                place,
                format!("it is the variable {variable}, which is not set here"),
                format!("set {variable} and export again"),
            );
            continue;
        }
        let key = match &file.content {
            Content::External(name) => {
                let kind = match file.kind {
                    FileKind::Config => "ConfigMap",
                    FileKind::Secret => "Secret",
                };
                told.lost(
                    &place,
                    format!(
                        "{name} is kept outside of the project, so its content is not known here"
                    ),
                    format!(
                        "make a {kind} named {} with the key {}",
                        object_name(file),
                        names::data_key(name)
                    ),
                );
                names::data_key(name)
            }
            _ => names::data_key(&file.name),
        };
        if file.owned {
            told.lost(
                &place,
                "its uid and gid: files of a ConfigMap or a Secret belong to root, or to the pod's fsGroup",
                "set `securityContext.fsGroup` of the pod to the group that reads it",
            );
        }
        let object = object_name(file);
        let mode = file.mode.and_then(|mode| i32::try_from(mode).ok());
        let name = names::free(
            &object,
            &volumes.iter().map(|volume| volume.name.clone()).collect(),
        );
        let items = Some(vec![KeyToPath {
            key: key.clone(),
            path: key.clone(),
            mode: None,
        }]);
        let mut volume = Volume {
            name: name.clone(),
            ..Volume::default()
        };
        match file.kind {
            FileKind::Config => {
                volume.config_map = Some(ConfigMapVolumeSource {
                    name: object,
                    default_mode: mode,
                    items,
                    optional: None,
                });
            }
            FileKind::Secret => {
                volume.secret = Some(SecretVolumeSource {
                    secret_name: Some(object),
                    default_mode: mode,
                    items,
                    optional: None,
                });
            }
        }
        volumes.push(volume);
        mounts.push(VolumeMount {
            name,
            mount_path: file.path.clone(),
            sub_path: Some(key),
            read_only: Some(true),
            ..VolumeMount::default()
        });
    }
}

/// Whether a variable's value should not be read by whoever reads the Deployment.
fn is_secret(name: &str, value: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let says_so = SECRET_WORDS.iter().any(|word| name.contains(word));
    // `scheme://user:password@host`
    let in_url = value.split_once("://").is_some_and(|(_, rest)| {
        let authority = rest.split('/').next().unwrap_or_default();
        authority
            .split_once('@')
            .is_some_and(|(user, _)| user.contains(':'))
    });
    // `…_FILE` is where the secret is, not the secret.
    (says_so && !name.ends_with("_FILE") || in_url) && !value.is_empty()
}

/// Variables of a service, split in those that are written in the Deployment and those that are not.
fn split<'a>(subject: &Subject<'a>) -> (BTreeMap<&'a str, &'a str>, BTreeMap<&'a str, &'a str>) {
    let from_file = &subject.service.workload.from_env_file;
    let all = subject.service.environment.iter().flatten();
    let set = all.filter_map(|(name, value)| Some((name.as_str(), value.as_deref()?)));
    set.filter(|(name, _)| names::is_variable(name))
        .partition(|(name, value)| !from_file.contains(*name) && !is_secret(name, value))
}

fn environment_name(subject: &Subject<'_>) -> String {
    names::with(subject.name, "env")
}

/// The Secret with what comes from an `env_file` or looks like a secret.
pub(super) fn environment(subject: &Subject<'_>) -> Result<Option<Object>, ExportError> {
    if subject.service.environment.is_none() {
        return Err(ExportError::File(format!(
            "{}: a file of it cannot be read, so the environment is not known; `compose-scale config` and `docker compose config` say more",
            subject.place("env_file")
        )));
    }
    let (_, secret) = split(subject);
    if secret.is_empty() {
        return Ok(None);
    }
    let mut told = Told::default();
    secret_note(&subject.place("environment"), &mut told);
    let data = secret.iter();
    let data = data.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Ok(Some(told.object(&Secret {
        metadata: subject.metadata(&environment_name(subject)),
        type_: Some("Opaque".to_owned()),
        string_data: Some(data.collect()),
        ..Secret::default()
    })))
}

/// The container's variables.
pub(super) fn variables(
    subject: &Subject<'_>,
    told: &mut Told,
) -> (Option<Vec<EnvVar>>, Option<Vec<EnvFromSource>>) {
    for (name, value) in subject.service.environment.iter().flatten() {
        let place = subject.place(&format!("environment.{name}"));
        if !names::is_variable(name) {
            told.lost(
                place,
                "its name has characters that not every release of Kubernetes allows",
                "letters, digits, `-`, `_` and `.`, no digit first",
            );
        } else if value.is_none() {
            told.chosen(
                place,
                "it is named and set nowhere, so the container does not get it",
                "set it, or leave it out",
            );
        }
    }
    let (plain, secret) = split(subject);
    let plain = plain.into_iter().map(|(name, value)| EnvVar {
        name: name.to_owned(),
        value: Some(literal(value)),
        value_from: None,
    });
    let plain: Vec<_> = plain.collect();
    let from = (!secret.is_empty()).then(|| {
        vec![EnvFromSource {
            secret_ref: Some(SecretEnvSource {
                name: environment_name(subject),
                optional: None,
            }),
            ..EnvFromSource::default()
        }]
    });
    ((!plain.is_empty()).then_some(plain), from)
}

/// A text that Kubernetes takes for itself: in variables and commands it replaces `$(NAME)`, and makes
/// one of two `$`.
pub(super) fn literal(text: &str) -> String {
    if text.contains("$$") || text.contains("$(") {
        text.replace('$', "$$")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_one() {
        for (name, value) in [
            ("DB_PASSWORD", "x"),
            ("github_token", "x"),
            ("DATABASE_URL", "postgres://app:pw@db/app"),
        ] {
            assert!(is_secret(name, value), "{name}");
        }
        for (name, value) in [
            ("PORT", "80"),
            ("DB_PASSWORD", ""),
            ("DB_PASSWORD_FILE", "/run/secrets/db"),
            ("URL", "http://example.com/a@b:c"),
            ("PROXY", "http://user@host"),
        ] {
            assert!(!is_secret(name, value), "{name}");
        }
    }

    #[test]
    fn a_text_comes_out_of_kubernetes_as_it_went_in() {
        // As the API says of `env.value`: `$$` is one `$`, `$(NAME)` is replaced, all else stays.
        let read = |text: &str| text.replace("$$", "$");
        for text in ["$HOME", "a$$b", "$(date)", "100$", "$$(x)$", "$$$"] {
            let written = literal(text);
            assert!(!written.replace("$$", "").contains("$("), "{written}");
            assert_eq!(read(&written), text);
        }
        assert_eq!(literal("$HOME"), "$HOME");
        assert_eq!(literal("$(date)"), "$$(date)");
    }
}
