//! `compose-scale export`

use std::{collections::BTreeMap, fmt::Write as _, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use indexmap::IndexMap;
use serde_json::json;

use super::{Failure, ProjectArgs, output};
use crate::{
    export::{self, Controller, Export, ExportError, ExportRequest, Remark, yaml},
    files,
    telemetry::{plain, plain_json},
};

mod directory;
mod nginx;

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    #[command(subcommand)]
    to: To,
}

#[derive(Debug, Subcommand)]
enum To {
    /// Export Kubernetes manifests, with an autoscaler per policy
    #[command(after_long_help = super::help::text("export kubernetes"))]
    Kubernetes(KubernetesArgs),
}

#[derive(Debug, Args)]
struct KubernetesArgs {
    /// Services to export [default: all, without the nginx that the Ingress replaces]
    #[arg(value_name = "SERVICE")]
    services: Vec<String>,
    /// Write a file per object and a kustomization.yaml into this directory [default: standard output]
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Namespace [default: the project name]
    #[arg(long, value_name = "NAME", value_parser = namespace)]
    namespace: Option<String>,
    /// Ingress controller of the cluster
    #[arg(long, value_enum, default_value_t = IngressName::Traefik)]
    ingress: IngressName,
    /// Host name of a service for its Ingress; may be repeated
    #[arg(long = "host", value_name = "SERVICE=HOST", value_parser = host)]
    hosts: Vec<(String, String)>,
    /// URL of the cluster's Prometheus, for KEDA
    #[arg(
        long,
        value_name = "URL",
        default_value = "http://prometheus-operated.monitoring:9090",
        value_parser = url
    )]
    prometheus: String,
    /// Size of each volume, because compose files have none
    #[arg(long, value_name = "SIZE", default_value = "10Gi", value_parser = quantity)]
    volume_size: String,
    /// Fail with exit code 1 and write nothing when something does not carry over
    #[arg(long)]
    strict: bool,
    /// Format on standard output
    #[arg(long, value_enum, default_value_t = ExportFormat::Yaml, conflicts_with = "output")]
    format: ExportFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum IngressName {
    Traefik,
    Nginx,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ExportFormat {
    Yaml,
    Json,
}

fn host(text: &str) -> Result<(String, String), String> {
    let form = "expected SERVICE=HOST, like web=www.example.com";
    let (service, host) = text.split_once('=').ok_or(form)?;
    if service.is_empty() || host.len() > 253 || !export::is_host(host) {
        return Err(form.to_owned());
    }
    Ok((service.to_owned(), host.to_owned()))
}

fn namespace(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let ends = !text.starts_with('-') && !text.ends_with('-');
    if text.is_empty() || text.len() > 63 || !ends || !text.chars().all(fits) {
        return Err("expected up to 63 lower case letters, digits and `-`".to_owned());
    }
    Ok(text.to_owned())
}

fn url(text: &str) -> Result<String, String> {
    let rest = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"));
    match rest {
        Some(rest)
            if rest
                .split('/')
                .next()
                .is_some_and(|host| host.contains('@')) =>
        {
            Err("do not put a password into manifests; use KEDA's TriggerAuthentication".to_owned())
        }
        Some(rest) if !rest.is_empty() && !text.contains(char::is_whitespace) => {
            Ok(text.to_owned())
        }
        _ => Err("expected a URL, like http://prometheus.monitoring:9090".to_owned()),
    }
}

fn quantity(text: &str) -> Result<String, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &text[digits.len()..];
    let units = ["", "k", "M", "G", "T", "P", "Ki", "Mi", "Gi", "Ti", "Pi"];
    let number = digits
        .parse::<f64>()
        .ok()
        .filter(|n| n.is_finite() && *n > 0.0);
    if number.is_none() || digits.starts_with(['+', '.']) || !units.contains(&unit) {
        return Err("expected a size as Kubernetes writes it, like 10Gi".to_owned());
    }
    Ok(text.to_owned())
}

pub(super) async fn run(project: &ProjectArgs, args: &ExportArgs) -> Result<(), Failure> {
    let To::Kubernetes(args) = &args.to;
    let (_, loaded) = project.load(&args.services).await?;
    let mut hosts = BTreeMap::new();
    for (service, host) in &args.hosts {
        if hosts.insert(service.clone(), host.clone()).is_some() {
            let text = format!("--host names {service} twice; a service has one host name here");
            return Err(Failure::Usage(text));
        }
    }
    let front = export::front(&loaded.project, &loaded.policies, &loaded.settings);
    let front = front.and_then(|name| loaded.project.services.get(&name));
    let routes = front.map(nginx::routes).unwrap_or_default();
    let export = export::kubernetes(&ExportRequest {
        project: &loaded.project,
        policies: &loaded.policies,
        settings: &loaded.settings,
        services: &args.services,
        namespace: args.namespace.as_deref(),
        ingress: match args.ingress {
            IngressName::Traefik => Controller::Traefik,
            IngressName::Nginx => Controller::Nginx,
        },
        hosts: &hosts,
        routes: &routes,
        prometheus: &args.prometheus,
        volume_size: &args.volume_size,
        read: &|path| files::read_content(path),
    })
    .map_err(|error| match error {
        ExportError::Usage(text) => Failure::Usage(text),
        ExportError::File(text) => Failure::Config(text),
    })?;
    let lost = export.lost();
    if args.strict && !lost.is_empty() {
        tracing::warn!("{}", list(&lost, "does not carry over"));
        return Err(Failure::Work(vec![format!(
            "{} not carry over; with --strict, nothing was written then",
            count(lost.len(), "thing does", "things do")
        )]));
    }
    match &args.output {
        Some(path) => {
            let mut what = vec![loaded.project.name.as_str()];
            what.extend(args.services.iter().map(String::as_str));
            directory::write(path, &what.join(" "), &export)?;
        }
        None => output::write(text(&export, args.format)?.as_bytes())?,
    }
    let chosen = export.chosen();
    if !chosen.is_empty() {
        tracing::info!("{}", list(&chosen, "to look at"));
    }
    if !lost.is_empty() {
        tracing::warn!("{}", list(&lost, "does not carry over"));
    }
    Ok(())
}

fn count(number: usize, one: &str, several: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { several })
}

/// All objects as one stream. The text is not made fit for a terminal: whatever is in a config must come
/// out of it again. YAML and JSON escape what a terminal would obey.
fn text(export: &Export, format: ExportFormat) -> Result<String, Failure> {
    if format == ExportFormat::Json {
        let items: Vec<_> = export.objects.iter().map(|object| &object.value).collect();
        let document = json!({
            "version": 1,
            "namespace": export.namespace,
            "list": {"apiVersion": "v1", "kind": "List", "items": items},
            "lost": export.lost(),
            "chosen": export.chosen(),
        });
        let text = serde_json::to_string_pretty(&document).map_err(std::io::Error::from)?;
        return Ok(plain_json(&text).into_owned() + "\n");
    }
    let mut text = whole(export);
    for object in &export.objects {
        let _ = write!(text, "---\n{}", yaml::document(object));
    }
    Ok(text)
}

/// What belongs to no object.
fn whole(export: &Export) -> String {
    let remarks: Vec<&Remark> = export.remarks.iter().collect();
    let notes: Vec<&Remark> = export.notes.iter().collect();
    yaml::comments(&remarks, "Does not carry over:") + &yaml::comments(&notes, "To look at:")
}

/// The list at the end, for people.
/// Remarks for people, each once with all the places that it is for.
fn list(remarks: &[&Remark], what: &str) -> String {
    let mut grouped: IndexMap<(&str, &str), Vec<&str>> = IndexMap::new();
    for Remark { place, what, fix } in remarks {
        grouped.entry((what, fix)).or_default().push(place);
    }
    let mut text = format!("{what} ({}):", remarks.len());
    for ((what, fix), places) in grouped {
        let places = plain(&places.join(", ")).into_owned();
        let _ = write!(text, "\n  {places}: {}\n    → {}", plain(what), plain(fix));
    }
    text
}
