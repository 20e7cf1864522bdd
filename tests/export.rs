//! What a project becomes for Kubernetes: every compose file of the corpus gives objects that the
//! published schemas of three versions take, that fit together, and that say what is lost.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    reason = "files of a test that nobody else reads"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use assert_cmd::Command as Program;
use compose_scale::{
    compose::{self, Loaded},
    export::{self, Controller, Export, ExportError, ExportRequest, yaml},
};
use serde_json::Value;
use tempfile::TempDir;

#[path = "support/corpus.rs"]
mod corpus;

/// The oldest version that has every field, one between, and the newest with a schema.
const VERSIONS: &str = "1.33,1.35,1.37";

fn exported(loaded: &Loaded, ingress: Controller) -> Result<Export, ExportError> {
    export::kubernetes(&ExportRequest {
        project: &loaded.project,
        policies: &loaded.policies,
        settings: &loaded.settings,
        services: &[],
        namespace: None,
        ingress,
        hosts: &BTreeMap::new(),
        routes: &[],
        prometheus: "http://prometheus:9090",
        volume_size: "10Gi",
        read: &|path| fs::read(path),
    })
}

/// Projects of the repository, besides the corpus.
fn projects() -> Vec<(String, compose::LoadRequest)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = Vec::new();
    for directory in [
        "compose/demo",
        "compose/nginx-service",
        "compose/nginx-host",
        "tests/export/shop",
    ] {
        let request = compose::LoadRequest {
            cwd: root.join(directory),
            env: BTreeMap::from([("DB_PASSWORD".into(), "hunter3".into())]),
            ..compose::LoadRequest::default()
        };
        all.push((directory.replace('/', "-"), request));
    }
    for case in corpus::cases(&corpus::directory()) {
        if !case.refused {
            all.push((format!("corpus-{}", case.name), corpus::request(&case)));
        }
    }
    all
}

/// Every project that can be exported, for both ingress controllers, by name.
fn exports() -> Vec<(String, Export)> {
    let mut all = Vec::new();
    let mut not = Vec::new();
    for (name, request) in projects() {
        let loaded = compose::load(&request).unwrap_or_else(|error| panic!("{name}: {error}"));
        for (controller, word) in [
            (Controller::Traefik, "traefik"),
            (Controller::Nginx, "nginx"),
        ] {
            match exported(&loaded, controller) {
                Ok(export) => all.push((format!("{name}-{word}"), export)),
                Err(error) => not.push(format!("{name}: {error}")),
            }
        }
    }
    // Files that the corpus names and does not have.
    not.dedup();
    assert!(
        not.iter()
            .all(|line| line.contains("cannot read") || line.contains("cannot be read")),
        "{not:#?}"
    );
    assert!(not.len() < 12, "{not:#?}");
    assert!(all.len() > 100, "{}", all.len());
    all
}

fn documents(export: &Export) -> String {
    let documents = export.objects.iter().map(yaml::document);
    documents.fold(String::new(), |text, document| text + "---\n" + &document)
}

/// A program that a test needs, or `None` after saying why nothing is tested.
fn needed(variable: &str, what: &str) -> Option<String> {
    let program = std::env::var(variable).ok();
    if program.is_none() {
        let why = format!("skipped: {variable} does not name {what}");
        assert!(std::env::var("CI").as_deref() != Ok("true"), "{why}");
        eprintln!("{why}");
    }
    program
}

#[test]
fn every_object_of_the_corpus_is_one_by_the_schemas_of_three_versions() {
    let what = "a python with kubernetes-validate";
    let Some(python) = needed("COMPOSE_SCALE_TEST_KUBERNETES", what) else {
        return;
    };
    let directory = TempDir::new().unwrap();
    for (name, export) in exports() {
        let objects: Vec<&Value> = export.objects.iter().map(|object| &object.value).collect();
        let path = directory.path().join(name);
        fs::write(path.with_extension("yaml"), documents(&export)).unwrap();
        fs::write(
            path.with_extension("json"),
            serde_json::to_vec(&objects).unwrap(),
        )
        .unwrap();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/lib/kubernetes-schema.py");
    let output = Command::new(python)
        .arg(script)
        .arg(VERSIONS)
        .arg(directory.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    eprintln!("{said}");
}

/// Every value of a field at any depth, with the path to it.
fn all_of<'a>(value: &'a Value, field: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                if key == field {
                    found.push(inner);
                }
                all_of(inner, field, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| all_of(item, field, found)),
        _ => {}
    }
}

fn values<'a>(value: &'a Value, field: &str) -> Vec<&'a Value> {
    let mut found = Vec::new();
    all_of(value, field, &mut found);
    found
}

/// A label of a domain name, as RFC 1123 has it.
fn is_label(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !text.is_empty()
        && text.len() <= 63
        && text.chars().all(fits)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// What the API server asks beyond the schema.
fn wrong_with(export: &Export) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut known = BTreeSet::new();
    let mut deployments = BTreeMap::new();
    for object in &export.objects {
        let (kind, name) = (object.kind(), object.name());
        if !known.insert((kind.to_owned(), name.to_owned())) {
            wrong.push(format!("{kind} {name} is there twice"));
        }
        if !is_label(name) {
            wrong.push(format!("{kind} {name}: no name"));
        }
        let namespace = object.value["metadata"]["namespace"].as_str();
        if kind != "Namespace" && namespace != Some(export.namespace.as_str()) {
            wrong.push(format!("{kind} {name}: namespace {namespace:?}"));
        }
        if matches!(kind, "Deployment" | "Job") {
            deployments.insert(name, &object.value["spec"]["template"]);
        }
    }
    let is_there = |kind: &str, name: &Value| {
        let name = name.as_str().unwrap_or_default();
        known.contains(&(kind.to_owned(), name.to_owned()))
    };
    let expected: BTreeSet<String> = export
        .lost()
        .iter()
        .filter_map(|remark| remark.fix.strip_prefix("make a ").map(ToOwned::to_owned))
        .collect();
    for object in &export.objects {
        let what = format!("{} {}", object.kind(), object.name());
        let spec = &object.value["spec"];
        match object.kind() {
            "Deployment" | "Job" => {
                let pod = &spec["template"]["spec"];
                let labels = &spec["template"]["metadata"]["labels"];
                if object.kind() == "Deployment" && spec["selector"]["matchLabels"] != *labels {
                    wrong.push(format!("{what}: selects other pods than its own"));
                }
                wrong.extend(
                    wrong_with_pod(pod)
                        .into_iter()
                        .map(|text| format!("{what}: {text}")),
                );
                for (field, kind) in [
                    ("configMap", "ConfigMap"),
                    ("secret", "Secret"),
                    ("persistentVolumeClaim", "PersistentVolumeClaim"),
                    ("secretRef", "Secret"),
                ] {
                    for source in values(pod, field) {
                        let name = source
                            .get("name")
                            .or(source.get("secretName"))
                            .or(source.get("claimName"))
                            .unwrap();
                        let made = format!("{kind} named {} with", name.as_str().unwrap());
                        if !is_there(kind, name)
                            && !expected.iter().any(|fix| fix.starts_with(&made))
                        {
                            wrong.push(format!("{what}: no {kind} {name}"));
                        }
                    }
                }
            }
            "Service" | "PodDisruptionBudget" => {
                let selector = if object.kind() == "Service" {
                    &spec["selector"]
                } else {
                    &spec["selector"]["matchLabels"]
                };
                let mine = deployments
                    .values()
                    .filter(|template| template["metadata"]["labels"] == *selector);
                if mine.count() != 1 {
                    wrong.push(format!("{what}: selects no pods, or those of several"));
                }
                let names: Vec<_> = values(spec, "ports")
                    .into_iter()
                    .flat_map(|ports| ports.as_array().unwrap())
                    .map(|port| port["name"].as_str().unwrap())
                    .collect();
                let unique: BTreeSet<_> = names.iter().collect();
                if unique.len() != names.len() || names.iter().any(|name| name.len() > 15) {
                    wrong.push(format!("{what}: names of ports {names:?}"));
                }
            }
            "Ingress" => {
                for backend in values(spec, "backend") {
                    if !is_there("Service", &backend["service"]["name"]) {
                        wrong.push(format!("{what}: leads to no Service"));
                    }
                }
            }
            _ => {}
        }
    }
    wrong
}

fn wrong_with_pod(pod: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let volumes: Vec<String> = list(&pod["volumes"])
        .iter()
        .map(|volume| volume["name"].as_str().unwrap().to_owned())
        .collect();
    let unique: BTreeSet<_> = volumes.iter().collect();
    if unique.len() != volumes.len() || !volumes.iter().all(|name| is_label(name)) {
        wrong.push(format!("volumes {volumes:?}"));
    }
    let container = &pod["containers"][0];
    let mut paths = BTreeSet::new();
    for mount in list(&container["volumeMounts"]) {
        if !volumes.iter().any(|name| mount["name"] == **name) {
            wrong.push(format!("mounts {}, which is no volume", mount["name"]));
        }
        let path = mount["mountPath"].as_str().unwrap().to_owned();
        if path.contains(':') || !paths.insert(path.clone()) {
            wrong.push(format!("mounts at {path} twice, or at no path"));
        }
    }
    if !is_label(container["name"].as_str().unwrap()) {
        wrong.push(format!("container {}", container["name"]));
    }
    for probe in ["readinessProbe", "startupProbe"] {
        for field in ["periodSeconds", "timeoutSeconds", "failureThreshold"] {
            if container[probe].is_object()
                && container[probe][field]
                    .as_i64()
                    .is_none_or(|number| number < 1)
            {
                wrong.push(format!("{probe}.{field} is less than 1"));
            }
        }
    }
    let limits = &container["resources"]["limits"];
    let requests = &container["resources"]["requests"];
    for key in ["cpu", "memory"] {
        if limits[key].is_string()
            && requests[key].is_string()
            && quantity(&limits[key]) < quantity(&requests[key])
        {
            wrong.push(format!("requests more {key} than its limit"));
        }
    }
    wrong
}

fn quantity(text: &Value) -> f64 {
    let text = text.as_str().unwrap();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" => 1.0,
        "m" => 0.001,
        "Ki" => 1024.0,
        "Mi" => 1024.0 * 1024.0,
        "Gi" => 1024.0 * 1024.0 * 1024.0,
        other => panic!("unit {other}"),
    };
    digits.parse::<f64>().unwrap() * unit
}

#[test]
fn every_object_of_the_corpus_fits_to_the_others() {
    let mut wrong = Vec::new();
    for (name, export) in exports() {
        wrong.extend(
            wrong_with(&export)
                .into_iter()
                .map(|text| format!("{name}: {text}")),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_same_project_gives_the_same_bytes() {
    let first: Vec<_> = exports()
        .iter()
        .map(|(_, export)| documents(export))
        .collect();
    let second: Vec<_> = exports()
        .iter()
        .map(|(_, export)| documents(export))
        .collect();
    assert_eq!(first, second);
}

// The command.

fn program(directory: &Path) -> Program {
    let mut program = Program::cargo_bin("compose-scale").unwrap();
    program
        .current_dir(directory)
        .env_clear()
        .env("NO_COLOR", "1")
        .env("DB_PASSWORD", "hunter3");
    program
}

fn source(directory: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(directory)
}

/// A project of its own that may be changed.
fn project(compose: &str) -> TempDir {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("compose.yaml"), compose).unwrap();
    directory
}

fn output_of(directory: &Path, args: &[&str]) -> (i32, String, String) {
    let output = program(directory).args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    // The list is a line of the log, with a time before it.
    let stderr = text(output.stderr);
    let stderr: Vec<_> = stderr
        .lines()
        .map(|line| {
            line.split_once("  WARN ")
                .or(line.split_once("  INFO "))
                .map_or(line, |(_, rest)| rest)
        })
        .collect();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        stderr.join("\n"),
    )
}

#[test]
fn the_demo_project() {
    let (code, stdout, stderr) = output_of(&source("compose/demo"), &["export", "kubernetes"]);
    assert_eq!(code, 0, "{stderr}");
    insta::assert_snapshot!("export_demo", stdout);
    insta::assert_snapshot!("export_demo_said", stderr);
}

#[test]
fn a_shop_with_all_that_a_project_has() {
    let (code, stdout, stderr) = output_of(&source("tests/export/shop"), &["export", "kubernetes"]);
    assert_eq!(code, 0, "{stderr}");
    insta::assert_snapshot!("export_shop", stdout);
    insta::assert_snapshot!("export_shop_said", stderr);
}

#[test]
fn strict_fails_where_something_is_lost_and_writes_nothing() {
    let whole = "services:\n  web:\n    image: web:1\n    expose: [\"80\"]\n    deploy: {resources: {limits: {cpus: '1', memory: 64M}}}\n";
    let lossless = project(whole);
    let (code, stdout, stderr) = output_of(lossless.path(), &["export", "kubernetes", "--strict"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("kind: Deployment"));

    let lossy = project(&format!("{whole}    pid: host\n"));
    let (code, stdout, stderr) = output_of(
        lossy.path(),
        &["export", "kubernetes", "--strict", "-o", "k8s"],
    );
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.contains("services.web.pid"), "{stderr}");
    assert!(stderr.contains("nothing was written"), "{stderr}");
    assert!(!lossy.path().join("k8s").exists());
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_directory_has_a_file_for_each_object_and_a_kustomization_that_names_them() {
    let project =
        project("name: a\nservices:\n  web: {image: web, expose: [\"80\"]}\n  old: {image: old}\n");
    let directory = project.path().join("out/k8s");
    let export = ["export", "kubernetes", "--output", "out/k8s"];
    let (code, stdout, stderr) = output_of(project.path(), &export);
    assert_eq!((code, stdout.as_str()), (0, ""), "{stderr}");
    let made = names(&directory);
    assert_eq!(
        made,
        [
            "a-namespace.yaml",
            "kustomization.yaml",
            "old-deployment.yaml",
            "old-service.yaml",
            "web-deployment.yaml",
            "web-service.yaml"
        ]
    );
    let listed = fs::read_to_string(directory.join("kustomization.yaml")).unwrap();
    for name in made.iter().filter(|name| *name != "kustomization.yaml") {
        assert!(listed.contains(&format!("- {name}\n")), "{listed}");
    }

    // Again: nothing changes. Then what is no longer there goes, and what is somebody's stays.
    let before = fs::metadata(directory.join("web-deployment.yaml"))
        .unwrap()
        .modified()
        .unwrap();
    let (code, _, stderr) = output_of(project.path(), &export);
    assert_eq!(code, 0);
    assert!(stderr.contains("0 files changed"), "{stderr}");
    assert_eq!(
        fs::metadata(directory.join("web-deployment.yaml"))
            .unwrap()
            .modified()
            .unwrap(),
        before
    );
    fs::write(directory.join("mine.yaml"), "kind: ConfigMap\n").unwrap();
    fs::write(
        project.path().join("compose.yaml"),
        "name: a\nservices:\n  web: {image: web, expose: [\"80\"]}\n",
    )
    .unwrap();
    let (code, _, stderr) = output_of(project.path(), &export);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(
        names(&directory),
        [
            "a-namespace.yaml",
            "kustomization.yaml",
            "mine.yaml",
            "web-deployment.yaml",
            "web-service.yaml"
        ]
    );

    // What somebody has changed is not written over.
    let path = directory.join("web-deployment.yaml");
    let changed = fs::read_to_string(&path)
        .unwrap()
        .replace("image: web", "image: web:2");
    fs::write(&path, &changed).unwrap();
    fs::write(
        project.path().join("compose.yaml"),
        "name: a\nservices:\n  web: {image: web:3}\n",
    )
    .unwrap();
    let service = fs::read_to_string(directory.join("web-service.yaml")).unwrap();
    let (code, _, stderr) = output_of(project.path(), &export);
    assert_eq!(code, 1);
    assert!(
        stderr.contains("web-deployment.yaml has been changed"),
        "{stderr}"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), changed);
    assert_eq!(
        fs::read_to_string(directory.join("web-service.yaml")).unwrap(),
        service
    );
}

/// Objects by kind and name, as kubectl prints them.
fn read_by_kubectl(kubectl: &str, directory: &Path) -> BTreeMap<(String, String), Value> {
    let output = Command::new(kubectl)
        .arg("kustomize")
        .arg(directory)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let documents = serde_yaml::Deserializer::from_str(&text);
    let objects = documents.map(|one| <Value as serde::Deserialize>::deserialize(one).unwrap());
    let named = objects.map(|one| {
        let word = |value: &Value| value.as_str().unwrap().to_owned();
        ((word(&one["kind"]), word(&one["metadata"]["name"])), one)
    });
    named.collect()
}

#[test]
fn kubectl_reads_the_directory_and_an_overlay_of_it() {
    let Some(kubectl) = needed("COMPOSE_SCALE_TEST_KUBECTL", "kubectl") else {
        return;
    };
    let shop = source("tests/export/shop");
    let out = TempDir::new().unwrap();
    let directory = out.path().join("k8s");
    let (code, _, stderr) = output_of(
        &shop,
        &["export", "kubernetes", "-o", directory.to_str().unwrap()],
    );
    assert_eq!(code, 0, "{stderr}");
    let (_, json, _) = output_of(&shop, &["export", "kubernetes", "--format", "json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    let meant = json["list"]["items"].as_array().unwrap();
    let read = read_by_kubectl(&kubectl, &directory);
    assert_eq!(read.len(), meant.len());
    for object in meant {
        let key = |value: &Value| value.as_str().unwrap().to_owned();
        let key = (key(&object["kind"]), key(&object["metadata"]["name"]));
        assert_eq!(&read[&key], object, "{key:?}");
    }

    // The one of the documentation.
    let page = fs::read_to_string(source("docs/export.md")).unwrap();
    let overlay = page
        .split("```yaml\n# prod/kustomization.yaml\n")
        .nth(1)
        .unwrap();
    let overlay = overlay.split("```").next().unwrap();
    fs::create_dir(out.path().join("prod")).unwrap();
    fs::write(out.path().join("prod/kustomization.yaml"), overlay).unwrap();
    let patched = read_by_kubectl(&kubectl, &out.path().join("prod"));
    let of = |kind: &str, name: &str| &patched[&(kind.to_owned(), name.to_owned())]["spec"];
    assert_eq!(
        of("Deployment", "web")["template"]["spec"]["containers"][0]["image"],
        "registry.example.com/shop/web:1.5"
    );
    assert_eq!(
        of("PersistentVolumeClaim", "uploads")["resources"]["requests"]["storage"],
        "50Gi"
    );
}

#[test]
fn a_secret_is_readable_by_its_owner_alone() {
    let project = project("services:\n  web: {image: web, environment: {API_TOKEN: hunter2}}\n");
    let (code, _, stderr) = output_of(project.path(), &["export", "kubernetes", "-o", "k8s"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(!stderr.contains("hunter2"), "{stderr}");
    let path = project.path().join("k8s/web-env-secret.yaml");
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let deployment = fs::read_to_string(project.path().join("k8s/web-deployment.yaml")).unwrap();
    assert!(!deployment.contains("hunter2"), "{deployment}");
}

#[test]
fn what_cannot_be_exported_is_said_with_the_right_code() {
    let directory = project(
        "services:\n  web: {image: web}\n  off: {image: off, profiles: [x]}\n  cfg: {image: web, configs: [c]}\nconfigs: {c: {file: gone.toml}}\n",
    );
    let kubernetes = |args: &[&str]| {
        let all: Vec<&str> = ["export", "kubernetes"]
            .iter()
            .chain(args)
            .copied()
            .collect();
        output_of(directory.path(), &all)
    };
    for (args, code, words) in [
        (
            &["nowhere"][..],
            2,
            &["nowhere", "no such service", "web"][..],
        ),
        (&["web", "--host", "nowhere=a.example"], 2, &["nowhere"]),
        (&["web", "--host", "web=A_B"], 2, &["SERVICE=HOST"]),
        (&["web", "--volume-size", "ten"], 2, &["10Gi"]),
        (&["web", "--namespace", "A_B"], 2, &["lower case"]),
        (&["cfg"], 78, &["configs.c.file", "gone.toml"]),
    ] {
        let (found, stdout, stderr) = kubernetes(args);
        assert_eq!(found, code, "{args:?}: {stderr}");
        assert_eq!(stdout, "", "{args:?}");
        for word in words {
            assert!(stderr.contains(word), "{args:?}: {word}: {stderr}");
        }
    }
    let (code, stdout, stderr) = kubernetes(&["web"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(!stdout.contains("cfg"), "{stdout}");
}

#[test]
fn the_rules_of_nginx_are_those_of_the_ingress() {
    let directory = project(
        "name: a\nservices:\n  edge: {image: 'nginx:1.30', ports: ['80:80'], volumes: ['./conf.d:/etc/nginx/conf.d:ro']}\n  web: {image: web, expose: ['8080'], x-autoscale: {max: 3, metrics: [{cpu: 60%}]}}\n  api: {image: api}\n  old: {image: old}\n",
    );
    fs::create_dir(directory.path().join("conf.d")).unwrap();
    fs::write(
        directory.path().join("conf.d/site.conf"),
        "server {\n  server_name shop.example.com;\n  location / { proxy_pass http://web; }\n  location /api/ { proxy_pass http://api:3000/; }\n  location ~ \\.php$ { fastcgi_pass old:9000; }\n}\n",
    )
    .unwrap();
    let (code, stdout, stderr) = output_of(
        directory.path(),
        &["export", "kubernetes", "--format", "json"],
    );
    assert_eq!(code, 0, "{stderr}");
    let document: Value = serde_json::from_str(&stdout).unwrap();
    let items = document["list"]["items"].as_array().unwrap();
    let ingresses: Vec<_> = items
        .iter()
        .filter(|item| item["kind"] == "Ingress")
        .collect();
    let said: Vec<_> = ingresses
        .iter()
        .map(|one| {
            let rule = &one["spec"]["rules"][0];
            let path = &rule["http"]["paths"][0];
            let to = &path["backend"]["service"];
            format!(
                "{} {} {} {}",
                rule["host"], path["path"], to["name"], to["port"]["number"]
            )
            .replace('"', "")
        })
        .collect();
    assert_eq!(
        said,
        [
            "shop.example.com / web 8080",
            "shop.example.com /api/ api 3000"
        ]
    );
    let lost: Vec<_> = document["lost"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["what"].as_str().unwrap())
        .collect();
    assert!(
        lost.iter().any(|what| what.contains("/api/ becomes /")),
        "{lost:#?}"
    );
    // What nobody scales and nobody can reach by HTTP is said, too.
    assert!(
        lost.iter().any(|what| what.contains("fastcgi_pass old")),
        "{lost:#?}"
    );
}

#[test]
fn json_is_a_document_with_a_list_that_kubectl_takes() {
    let directory = project("name: a\nservices:\n  web: {image: web, pid: host}\n");
    let (code, stdout, _) = output_of(
        directory.path(),
        &["export", "kubernetes", "--format", "json"],
    );
    assert_eq!(code, 0);
    let document: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(document["version"], 1);
    assert_eq!(document["list"]["kind"], "List");
    assert_eq!(document["lost"][0]["place"], "services.web.pid");
    let kinds: Vec<_> = document["list"]["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["Namespace", "Deployment", "Service"]);
}

// What a Kubernetes person would notice.

/// What a compose file of its own becomes.
struct Made {
    objects: BTreeMap<String, Value>,
    lost: Vec<String>,
    chosen: Vec<String>,
}

impl Made {
    fn of(compose: &str) -> Self {
        Self::with(compose, &[])
    }

    fn with(compose: &str, args: &[&str]) -> Self {
        let directory = project(compose);
        let all: Vec<&str> = ["export", "kubernetes", "--format", "json"]
            .iter()
            .chain(args)
            .copied()
            .collect();
        let (code, stdout, stderr) = output_of(directory.path(), &all);
        assert_eq!(code, 0, "{compose}: {stderr}");
        let document: Value = serde_json::from_str(&stdout).unwrap();
        let items = document["list"]["items"].as_array().unwrap();
        let mut objects = BTreeMap::new();
        for item in items {
            let word = |value: &Value| value.as_str().unwrap().to_owned();
            let name = format!(
                "{} {}",
                word(&item["kind"]),
                word(&item["metadata"]["name"])
            );
            assert!(
                objects.insert(name.clone(), item.clone()).is_none(),
                "{name} twice: {compose}"
            );
        }
        let remarks = |key: &str| {
            let all = document[key].as_array().unwrap().iter();
            let text = all.map(|one| {
                format!(
                    "{}: {}",
                    one["place"].as_str().unwrap(),
                    one["what"].as_str().unwrap()
                )
            });
            text.collect()
        };
        Self {
            lost: remarks("lost"),
            chosen: remarks("chosen"),
            objects,
        }
    }

    fn pod(&self, deployment: &str) -> &Value {
        &self.objects[&format!("Deployment {deployment}")]["spec"]["template"]["spec"]
    }

    fn container(&self, deployment: &str) -> &Value {
        &self.pod(deployment)["containers"][0]
    }

    fn kinds(&self) -> Vec<&str> {
        self.objects.keys().map(String::as_str).collect()
    }

    #[track_caller]
    fn loses(&self, words: &str) {
        assert!(
            self.lost.iter().any(|line| line.contains(words)),
            "{words}: {:#?}",
            self.lost
        );
    }

    #[track_caller]
    fn chooses(&self, words: &str) {
        assert!(
            self.chosen.iter().any(|line| line.contains(words)),
            "{words}: {:#?}",
            self.chosen
        );
    }
}

#[test]
fn what_scales_is_never_taken_for_the_nginx_in_front() {
    let made = Made::of(
        "name: a\nservices:\n  web: {image: 'nginx:1.30', expose: ['80'], x-autoscale: {max: 4}}\n  static: {image: 'nginx:1.30'}\n",
    );
    assert!(
        made.objects.contains_key("Deployment web"),
        "{:?}",
        made.kinds()
    );
    assert!(
        made.objects.contains_key("Deployment static"),
        "{:?}",
        made.kinds()
    );
}

#[test]
fn no_two_objects_have_one_name_and_what_has_none_is_said() {
    let long = "x".repeat(70);
    let made = Made::of(&format!(
        "name: a\nservices:\n  web: {{image: a, ports: ['81:81'], configs: [my_conf, my-conf]}}\n  web-public: {{image: b, environment: {{TOKEN: b}}}}\n  {long}a: {{image: c, environment: {{TOKEN: c}}}}\n  {long}b: {{image: d, environment: {{TOKEN: d}}}}\n  api: {{image: e, networks: {{default: {{aliases: [my_alias, shared, web]}}}}}}\n  other: {{image: f, networks: {{default: {{aliases: [shared]}}}}}}\nconfigs: {{my_conf: {{content: one}}, my-conf: {{content: two}}}}\n"
    ));
    // Each reads its own.
    let secrets = made
        .objects
        .iter()
        .filter(|(name, _)| name.starts_with("Secret "));
    let tokens: BTreeSet<&str> = secrets
        .map(|(_, one)| one["stringData"]["TOKEN"].as_str().unwrap())
        .collect();
    assert_eq!(tokens, BTreeSet::from(["b", "c", "d"]));
    let configs = made
        .objects
        .keys()
        .filter(|name| name.starts_with("ConfigMap "));
    assert_eq!(configs.count(), 2);
    for alias in ["my_alias", "shared", "web"] {
        made.loses(&format!("it is not found as {alias}"));
    }
    assert!(made.objects.contains_key("Service shared"));
}

#[test]
fn a_job_is_neither_found_nor_scaled_and_says_so() {
    let made = Made::of(
        "name: a\nservices:\n  migrate: {image: m, scale: 2, expose: ['80'], healthcheck: {test: ['CMD', 'x']}, x-autoscale: {max: 3, port: 80}}\n  web: {image: w, expose: ['80'], depends_on: {migrate: {condition: service_completed_successfully}}, x-autoscale: {max: 3}}\n",
    );
    assert!(made.objects.contains_key("Job migrate"));
    assert!(
        !made
            .objects
            .keys()
            .any(|name| name.ends_with(" migrate") && !name.starts_with("Job")),
        "{:?}",
        made.kinds()
    );
    for words in [
        "migrate.x-autoscale",
        "migrate.scale",
        "migrate.healthcheck",
        "migrate.ports",
    ] {
        made.loses(words);
    }
    // The only one with requests from outside has all of them.
    assert_eq!(
        made.objects["Ingress web"]["spec"]["rules"][0].get("host"),
        None
    );
}

#[test]
fn a_new_secret_or_config_makes_new_pods() {
    let digest = |token: &str, config: &str| {
        let made = Made::of(&format!(
            "name: a\nservices: {{web: {{image: w, environment: {{TOKEN: {token}}}, configs: [c]}}}}\nconfigs: {{c: {{content: {config}}}}}\n"
        ));
        made.objects["Deployment web"]["spec"]["template"]["metadata"]["annotations"].to_string()
    };
    let first = digest("one", "a");
    assert_eq!(first, digest("one", "a"));
    assert_ne!(first, digest("two", "a"));
    assert_ne!(first, digest("one", "b"));
    assert!(!first.contains("one"), "{first}");
}

#[test]
fn what_the_api_would_refuse_is_not_written() {
    let made = Made::of(
        "name: a\nservices:\n  web:\n    image: w:1\n    expose: ['9100/UDP', '80']\n    ports: ['10.1.2.3:5432:5432']\n    extra_hosts: ['My_Host:1.2.3.4', 'UPPER:1.2.3.5']\n    dns: [1.1.1.1, 1.1.1.2, 1.1.1.3, 1.1.1.4]\n    tmpfs: [/run, /run]\n    user: '4294967294'\n    cpus: 0.2\n    deploy: {resources: {reservations: {cpus: '1', devices: [{capabilities: [gpu]}]}}}\n    volumes: ['data:/x:rw', {type: tmpfs, target: /x}]\n    sysctls: {net.core.somaxconn: 1024, net.ipv4.ip_unprivileged_port_start: 0}\n    pre_stop: [{command: [sh, -c, 'kill -QUIT $$(cat /run/p.pid)']}]\n    command: [sh, -c, 'echo $$(date)']\nvolumes: {data: {}}\n",
    );
    let service = made.objects["Service web"]["spec"]["ports"].to_string();
    assert!(
        service.contains("udp-9100") && service.contains("UDP"),
        "{service}"
    );
    assert!(
        !made.objects.contains_key("Service web-public"),
        "{:?}",
        made.kinds()
    );
    made.loses("published on 10.1.2.3 alone");
    made.loses("My_Host");
    let pod = made.pod("web");
    assert_eq!(pod["hostAliases"][0]["hostnames"][0], "upper");
    assert_eq!(pod["dnsConfig"]["nameservers"].as_array().unwrap().len(), 3);
    made.loses("services.web.dns");
    made.loses("services.web.user");
    made.loses("services.web.deploy.resources.reservations.devices");
    assert_eq!(
        made.container("web")["resources"]["requests"]["cpu"],
        "200m"
    );
    made.loses("something else is mounted there");
    assert_eq!(
        pod["securityContext"]["sysctls"].as_array().unwrap().len(),
        1
    );
    made.loses("net.core.somaxconn");
    // The kubelet expands a command, and not a hook's.
    let container = made.container("web");
    assert_eq!(
        container["lifecycle"]["preStop"]["exec"]["command"][2],
        "kill -QUIT $(cat /run/p.pid)"
    );
    assert_eq!(container["args"][2], "echo $$(date)");
}

#[test]
fn long_waits_fit_into_what_a_rollout_may_take() {
    let made = Made::of(
        "name: a\nservices:\n  web: {image: w, expose: ['80'], healthcheck: {test: [CMD, x], interval: 30s}, x-autoscale: {max: 3, min_ready: 15m, ready_timeout: 600000h}}\n",
    );
    let spec = &made.objects["Deployment web"]["spec"];
    let number = |value: &Value| value.as_i64().unwrap();
    assert_eq!(spec["minReadySeconds"], 900);
    assert!(number(&spec["progressDeadlineSeconds"]) > 900);
    assert!(number(&made.container("web")["startupProbe"]["failureThreshold"]) > 0);
}

#[test]
fn a_policy_of_defaults_loses_nothing() {
    let made = Made::of(
        "name: a\nx-autoscale: {nginx: {host: true, upstreams: /x, logs: {dir: /l}}}\nservices:\n  web: {image: 'w:1', expose: ['80'], cpus: 1, mem_limit: 64m, x-autoscale: {max: 3, metrics: [{cpu: 60%}, {requests: 20}]}}\n",
    );
    assert_eq!(made.lost, Vec::<String>::new());
    made.chooses("initialization_period");
}

#[test]
fn nothing_secret_is_in_a_remark() {
    let made = Made::of(
        "name: a\nservices:\n  web:\n    image: w\n    expose: ['80']\n    x-autoscale:\n      max: 3\n      metrics:\n        - custom: {name: q, command: [redis-cli, -a, hunter2, llen, q], average_target: 5}\n        - custom: {name: r, http: {url: 'http://localhost:99/x?token=hunter2', pointer: /a}, average_target: 5}\n",
    );
    for line in made.lost.iter().chain(&made.chosen) {
        assert!(!line.contains("hunter2"), "{line}");
    }
    made.loses("redis-cli");
}

#[test]
fn a_part_of_the_project_has_the_rules_that_it_has_in_the_whole() {
    let compose = "name: a\nservices:\n  one: {image: w, expose: ['80'], x-autoscale: {max: 3}}\n  two: {image: w, expose: ['80'], x-autoscale: {max: 3}}\n";
    let host = |made: &Made| made.objects["Ingress one"]["spec"]["rules"][0]["host"].clone();
    assert_eq!(host(&Made::of(compose)), "one.example.com");
    assert_eq!(host(&Made::with(compose, &["one"])), "one.example.com");
    let directory = project(compose);
    let twice = [
        "export",
        "kubernetes",
        "--host",
        "one=a.example",
        "--host",
        "two=a.example",
    ];
    assert_eq!(output_of(directory.path(), &twice).0, 2);
}

#[test]
fn many_ports_are_none() {
    let made = Made::of(
        "name: a\nservices: {voice: {image: v, ports: ['10000-10500:10000-10500/udp']}}\n",
    );
    assert_eq!(made.objects["Service voice"]["spec"]["clusterIP"], "None");
    assert!(
        made.lost.len() + made.chosen.len() < 10,
        "{:#?}",
        made.chosen
    );
    made.loses("services.voice.ports");
}

#[test]
fn a_directory_of_somebody_else_stays_as_it_is() {
    let here = project("name: a\nservices: {web: {image: w}}\n");
    let export = ["export", "kubernetes", "-o", "k8s"];
    assert_eq!(output_of(here.path(), &export).0, 0);
    let k8s = here.path().join("k8s");
    let before = names(&k8s);

    // Another project, and a part of this one.
    for (compose, args) in [
        ("name: b\nservices: {api: {image: w}}\n", &export[..]),
        (
            "name: a\nservices: {web: {image: w}, x: {image: w}}\n",
            &["export", "kubernetes", "x", "-o", "k8s"],
        ),
    ] {
        fs::write(here.path().join("compose.yaml"), compose).unwrap();
        let (code, _, stderr) = output_of(here.path(), args);
        assert_eq!(code, 1, "{stderr}");
        assert!(stderr.contains("belongs to another export: a"), "{stderr}");
        assert_eq!(names(&k8s), before);
    }

    // A copy of one of ours is somebody's, and a secret that was copied about is private again.
    fs::write(
        here.path().join("compose.yaml"),
        "name: a\nservices: {web: {image: w, environment: {TOKEN: x}}}\n",
    )
    .unwrap();
    fs::copy(k8s.join("web-service.yaml"), k8s.join("mine.yaml")).unwrap();
    assert_eq!(output_of(here.path(), &export).0, 0);
    assert!(k8s.join("mine.yaml").exists());
    let secret = k8s.join("web-env-secret.yaml");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(output_of(here.path(), &export).0, 0);
    assert_eq!(
        fs::metadata(&secret).unwrap().permissions().mode() & 0o777,
        0o600
    );

    // What kubectl would refuse beside ours, and directories in the way: nothing is half written.
    fs::write(k8s.join("kustomization.yml"), "").unwrap();
    let (code, _, stderr) = output_of(here.path(), &export);
    assert_eq!(code, 1);
    assert!(stderr.contains("kustomization.yml exists"), "{stderr}");
    let fresh = here.path().join("fresh");
    fs::create_dir_all(fresh.join("web-deployment.yaml")).unwrap();
    let (code, _, _) = output_of(here.path(), &["export", "kubernetes", "-o", "fresh"]);
    assert_eq!(code, 1);
    assert_eq!(names(&fresh), ["web-deployment.yaml"]);
}

#[test]
fn what_a_terminal_obeys_is_spelled_out_in_every_form() {
    let directory = project(
        "name: a\nservices: {web: {image: w, environment: {A: \"x\\u009b31m\\u202ey\\u001b[2J\"}}}\n",
    );
    for format in ["yaml", "json"] {
        let (code, stdout, _) = output_of(
            directory.path(),
            &["export", "kubernetes", "--format", format],
        );
        assert_eq!(code, 0);
        assert!(
            !stdout.contains(['\u{9b}', '\u{202e}', '\u{1b}']),
            "{stdout:?}"
        );
    }
}
