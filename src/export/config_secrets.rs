//! Configs, secrets and environments: `ConfigMap` and Secret.

use std::collections::BTreeMap;

use k8s_openapi::{
    ByteString,
    api::core::v1::{
        ConfigMap, ConfigMapVolumeSource, EnvFromSource, EnvVar, KeyToPath, Secret,
        SecretEnvSource, SecretVolumeSource, Volume, VolumeMount,
    },
};

use sha2::{Digest as _, Sha256};

use super::{ExportError, Object, Remarks, ServiceSubject, names};
use crate::{
    project::workload::{Content, FileKind, MountedFile},
    units::hex,
};

/// The most that a `ConfigMap` or a Secret holds.
const MOST: usize = 1024 * 1024;
/// The most that `kubectl apply` can keep in an annotation (262144 bytes, with quotes and all).
const APPLIED: usize = 200 * 1024;

/// Words of a variable's name that say that its value is a secret, wherever they stand.
const SECRET_WORDS: &[&str] = &[
    "CREDENTIAL",
    "CREDENTIALS",
    "JWT",
    "PASSPHRASE",
    "PASSWD",
    "PASSWORD",
    "PGPASS",
    "SECRET",
];
/// Those that say so at the end.
const SECRET_ENDS: &[&str] = &["APIKEY", "DSN", "KEY", "PASS", "PWD", "SECRETS", "TOKEN"];

/// One object for each config and secret that is used.
pub(super) fn files(wanted: &[ServiceSubject<'_>]) -> Vec<Object> {
    let mut all: BTreeMap<(FileKind, &str), (&ServiceSubject<'_>, &MountedFile)> = BTreeMap::new();
    for subject in wanted {
        for file in &subject.service.workload.files {
            all.entry((file.kind, &file.name))
                .or_insert((subject, file));
        }
    }
    let known = all.into_values().filter_map(|(subject, file)| {
        let bytes = subject.shared.content_of(file)?;
        Some(object(subject, file, bytes))
    });
    known.collect()
}

/// Digits that are others where a service's environment in a Secret, or one of its files, is another: pods
/// do not notice by themselves.
pub(super) fn digest(subject: &ServiceSubject<'_>) -> Option<String> {
    let (_, secret) = split(subject);
    let files: Vec<_> = subject
        .service
        .workload
        .files
        .iter()
        .filter_map(|file| Some((&file.path, subject.shared.content_of(file)?)))
        .collect();
    if secret.is_empty() && files.is_empty() {
        return None;
    }
    let mut hasher = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hasher.update(bytes.len().to_le_bytes());
        hasher.update(bytes);
    };
    for (name, value) in &secret {
        add(name.as_bytes());
        add(value.as_bytes());
    }
    for (path, bytes) in files {
        add(path.as_bytes());
        add(bytes);
    }
    Some(hex(&hasher.finalize())[..16].to_owned())
}

fn object(subject: &ServiceSubject<'_>, file: &MountedFile, bytes: &[u8]) -> Object {
    let mut told = Remarks::default();
    let place = format!("{}.{}", file.kind.section(), file.name);
    if bytes.len() > APPLIED && bytes.len() <= MOST {
        told.chosen(
            &place,
            "it is larger than what `kubectl apply` notes of an object",
            "kubectl apply --server-side -k DIR",
        );
    }
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
    let metadata = subject.metadata_of_all(subject.shared.object_of(file));
    let key = names::data_key(&file.name);
    let text = std::str::from_utf8(bytes)
        .ok()
        .filter(|text| is_text(text))
        .map(ToOwned::to_owned);
    match (file.kind, text) {
        (FileKind::Config, Some(text)) => told.object(&ConfigMap {
            metadata,
            data: Some(BTreeMap::from([(key, text)])),
            ..ConfigMap::default()
        }),
        (FileKind::Config, None) => told.object(&ConfigMap {
            metadata,
            binary_data: Some(BTreeMap::from([(key, ByteString(bytes.to_vec()))])),
            ..ConfigMap::default()
        }),
        (FileKind::Secret, text) => {
            secret_note(&place, &mut told);
            let mut secret = Secret {
                metadata,
                type_: Some("Opaque".to_owned()),
                ..Secret::default()
            };
            if let Some(text) = text {
                secret.string_data = Some(BTreeMap::from([(key, text)]));
            } else {
                secret.data = Some(BTreeMap::from([(key, ByteString(bytes.to_vec()))]));
            }
            told.object(&secret)
        }
    }
}

/// What kubectl reads as text: YAML has no other control characters.
fn is_text(text: &str) -> bool {
    !text
        .chars()
        .any(|c| c.is_control() && !matches!(c, '\n' | '\t' | '\r'))
}

fn secret_note(place: &str, told: &mut Remarks) {
    told.chosen(
        place,
        "its value is in this file in clear",
        "keep the file out of version control, or replace it by a SealedSecret or an ExternalSecret",
    );
}

/// Puts the volumes and mounts of a service's configs and secrets to those that there are.
pub(super) fn mounts(
    subject: &ServiceSubject<'_>,
    volumes: &mut Vec<Volume>,
    mounts: &mut Vec<VolumeMount>,
    told: &mut Remarks,
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
                        subject.shared.object_of(file),
                        names::data_key(name)
                    ),
                );
                names::data_key(name)
            }
            _ => names::data_key(&file.name),
        };
        if file.path.contains(':') {
            told.lost(
                place,
                "a path with a colon, which Kubernetes does not mount at",
                "another path",
            );
            continue;
        }
        if file.mode.is_some_and(|mode| mode > 0o777) {
            told.lost(&place, "bits of its mode beyond 0777", "leave them out");
        }
        if file.owned {
            told.lost(
                &place,
                "its uid and gid: files of a ConfigMap or a Secret belong to root, or to the pod's fsGroup",
                "set `securityContext.fsGroup` of the pod to the group that reads it",
            );
        }
        let object = subject.shared.object_of(file).to_owned();
        let mode = file.mode.and_then(|mode| i32::try_from(mode & 0o777).ok());
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
    let words: Vec<&str> = name.split(['_', '-', '.']).collect();
    // `…_FILE` is where the secret is, not the secret.
    let last = words.last().copied().unwrap_or_default();
    let by_name = last != "FILE"
        && (words.iter().any(|word| SECRET_WORDS.contains(word)) || SECRET_ENDS.contains(&last));
    // `scheme://user:password@host`, `user:password@tcp(host)`, `?password=…`
    let rest = value.split_once("://").map_or(value, |(_, rest)| rest);
    let before = rest.split('/').next().unwrap_or_default().rsplit_once('@');
    let by_user = before.is_some_and(|(user, _)| user.contains(':') && !user.contains(' '));
    let lower = value.to_ascii_lowercase();
    let by_field = ["password=", "passwd=", "pwd=", "token=", "secret="]
        .iter()
        .any(|field| lower.contains(field));
    (by_name || by_user || by_field) && !value.is_empty()
}

/// Variables of a service, split in those that are written in the Deployment and those that are not.
fn split<'a>(
    subject: &ServiceSubject<'a>,
) -> (BTreeMap<&'a str, &'a str>, BTreeMap<&'a str, &'a str>) {
    let from_file = &subject.service.workload.from_env_file;
    let all = subject.service.environment.iter().flatten();
    let set = all.filter_map(|(name, value)| Some((name.as_str(), value.as_deref()?)));
    set.filter(|(name, _)| names::is_variable(name))
        .partition(|(name, value)| !from_file.contains(*name) && !is_secret(name, value))
}

fn environment_name(subject: &ServiceSubject<'_>) -> String {
    subject.shared.environment[&subject.service.name].clone()
}

/// The Secret with what comes from an `env_file` or looks like a secret.
pub(super) fn environment(subject: &ServiceSubject<'_>) -> Result<Option<Object>, ExportError> {
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
    let mut told = Remarks::default();
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
    subject: &ServiceSubject<'_>,
    told: &mut Remarks,
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
            ("MYSQL_PWD", "x"),
            ("DB_PASS", "x"),
            ("SECRET_KEY_BASE", "x"),
            ("S3_KEY", "x"),
            ("DSN", "x"),
            ("DB", "user:pw@tcp(db:3306)/x"),
            ("DB", "host=db password=x"),
        ] {
            assert!(is_secret(name, value), "{name}");
        }
        for (name, value) in [
            ("PORT", "80"),
            ("DB_PASSWORD", ""),
            ("DB_PASSWORD_FILE", "/run/secrets/db"),
            ("URL", "http://example.com/a@b:c"),
            ("PROXY", "http://user@host"),
            ("TOKENIZERS_PARALLELISM", "false"),
            ("KEY_TOKEN_LIMIT", "5"),
            ("PASSENGERS", "5"),
            ("CONTACT", "a@example.com"),
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
