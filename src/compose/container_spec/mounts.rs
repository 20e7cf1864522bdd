//! Volumes: plain ones as compose's `Binds`, those with options as `Mounts`, and the named ones that
//! must be there.

use indexmap::IndexMap;
use serde_json::{Map, Value as Json, json};

use super::{Resource, SpecBuilder, labels, read};
use crate::{compose::tree::Node, project::Volume};

const PROPAGATIONS: [&str; 6] = [
    "private", "rprivate", "rshared", "rslave", "shared", "slave",
];

/// What is written of a mount besides source, target and access.
#[derive(Debug, Default)]
struct Options {
    selinux: Option<String>,
    propagation: Option<String>,
    recursive: Option<String>,
    no_host_path: bool,
    consistency: Option<String>,
    /// The options of a volume, where there are any, even none.
    volume: Option<Map<String, Json>>,
    no_copy: bool,
    tmpfs: Option<Map<String, Json>>,
    image: Option<Map<String, Json>>,
}

impl Options {
    fn of(node: &Node, kind: &str) -> Self {
        match node.as_text() {
            Some(text) => Self::short(text, kind),
            None => Self::long(node),
        }
    }

    /// Of `SOURCE:TARGET:OPTIONS`. Compose passes over what it does not know here.
    fn short(text: &str, kind: &str) -> Self {
        let mut options = Self {
            volume: (kind == "volume").then(Map::new),
            ..Self::default()
        };
        let written = text.splitn(3, ':').nth(2).unwrap_or_default();
        for option in written.rsplit(':').next().unwrap_or_default().split(',') {
            match option {
                "z" | "Z" => options.selinux = Some(option.to_owned()),
                "nocopy" => options.no_copy = true,
                option if PROPAGATIONS.contains(&option) => {
                    options.propagation = Some(option.to_owned());
                }
                _ => {}
            }
        }
        if options.no_copy {
            let volume = options.volume.get_or_insert_default();
            volume.insert("NoCopy".into(), json!(true));
        }
        options
    }

    fn long(node: &Node) -> Self {
        let text = |node: Option<&Node>, key: &str| {
            let text = node?.get(key)?.as_text()?;
            (!text.is_empty()).then(|| text.to_owned())
        };
        let bind = node.get("bind");
        let volume = node.get("volume");
        let no_copy = volume.and_then(|volume| read::flag(volume.get("nocopy")?));
        let mut options = Self {
            selinux: text(bind, "selinux"),
            propagation: text(bind, "propagation"),
            recursive: text(bind, "recursive"),
            no_host_path: bind.and_then(|bind| read::flag(bind.get("create_host_path")?))
                == Some(false),
            consistency: text(Some(node), "consistency"),
            volume: volume.map(|_| Map::new()),
            no_copy: no_copy == Some(true),
            tmpfs: node.get("tmpfs").map(|_| Map::new()),
            image: node.get("image").map(|_| Map::new()),
        };
        if let Some(all) = &mut options.volume {
            if options.no_copy {
                all.insert("NoCopy".into(), json!(true));
            }
            if let Some(labels) = volume.and_then(|volume| volume.get("labels")) {
                all.insert("Labels".into(), json!(read::pairs(labels)));
            }
            if let Some(below) = text(volume, "subpath") {
                all.insert("Subpath".into(), json!(below));
            }
        }
        if let (Some(all), Some(tmpfs)) = (&mut options.tmpfs, node.get("tmpfs")) {
            for (key, field) in [("size", "SizeBytes"), ("mode", "Mode")] {
                if let Some(number) = tmpfs.get(key).and_then(read::size) {
                    all.insert(field.into(), json!(number));
                }
            }
        }
        if let (Some(all), Some(below)) = (&mut options.image, text(node.get("image"), "subpath")) {
            all.insert("Subpath".into(), json!(below));
        }
        options
    }

    fn bind(&self) -> Json {
        let mut all = Map::new();
        if let Some(propagation) = &self.propagation {
            all.insert("Propagation".into(), json!(propagation));
        }
        if !self.no_host_path {
            all.insert("CreateMountpoint".into(), json!(true));
        }
        let field = match self.recursive.as_deref() {
            Some("disabled") => Some("NonRecursive"),
            Some("writable") => Some("ReadOnlyNonRecursive"),
            Some("readonly") => Some("ReadOnlyForceRecursive"),
            _ => None,
        };
        all.extend(field.map(|field| (field.to_owned(), json!(true))));
        Json::Object(all)
    }
}

impl SpecBuilder<'_, '_> {
    pub(super) fn volumes(&mut self, node: &Node) {
        let mut all: IndexMap<String, (Volume, Node)> = IndexMap::new();
        let path = self.path().key("volumes");
        for (at, item) in node.as_list().unwrap_or_default().iter().enumerate() {
            if let Some(volume) = self.reader.volume(item, &path.item(at)) {
                all.insert(volume.target.clone(), (volume, item.clone()));
            }
        }
        for (volume, item) in all.into_values() {
            self.mount(&volume, &item);
        }
    }

    fn mount(&mut self, volume: &Volume, node: &Node) {
        let options = Options::of(node, &volume.kind);
        let access = if volume.read_only { "ro" } else { "rw" };
        let mut source = volume.source.clone();
        let kind = volume.kind.as_str();
        for (key, of) in [
            ("bind", "bind"),
            ("volume", "volume"),
            ("tmpfs", "tmpfs"),
            ("image", "image"),
        ] {
            if of != kind && node.get(key).is_some() {
                let why = format!("a {kind} with options of a {key}");
                return self.refuse("volumes", &why);
            }
        }
        let plain = match kind {
            "bind" => {
                !options.no_host_path
                    && options.propagation.is_none()
                    && options.recursive.is_none()
            }
            "volume" if source.is_some() => {
                let key = source.take().unwrap_or_default();
                source = Some(self.named_volume(&key));
                !options.no_copy && options.volume.as_ref().is_none_or(Map::is_empty)
            }
            "volume" | "tmpfs" => false,
            "image" => {
                self.need("volumes of an image", (1, 48));
                false
            }
            other => {
                let why = format!("a {other} is for Swarm or for Windows");
                return self.refuse("volumes", &why);
            }
        };
        if options
            .volume
            .as_ref()
            .is_some_and(|all| all.contains_key("Subpath"))
        {
            self.need("volumes.volume.subpath", (1, 45));
        }
        if plain {
            let mut all = vec![access.to_owned()];
            all.extend(options.selinux.clone());
            all.extend(options.propagation.clone());
            let source = source.unwrap_or_default();
            let bind = format!("{source}:{}:{}", volume.target, all.join(","));
            return self.push_host("Binds", json!(bind));
        }
        let mut mount = Map::from_iter([
            ("Type".to_owned(), json!(kind)),
            ("Target".to_owned(), json!(volume.target)),
        ]);
        let mut set = |field: &str, value: Option<Json>| {
            mount.extend(value.map(|value| (field.to_owned(), value)));
        };
        set("Source", source.map(|source| json!(source)));
        set("ReadOnly", volume.read_only.then(|| json!(true)));
        set(
            "Consistency",
            options.consistency.clone().map(|text| json!(text)),
        );
        set("BindOptions", (kind == "bind").then(|| options.bind()));
        set("VolumeOptions", options.volume.map(Json::Object));
        set("TmpfsOptions", options.tmpfs.map(Json::Object));
        set("ImageOptions", options.image.map(Json::Object));
        self.push_host("Mounts", Json::Object(mount));
    }

    /// The real name of a volume of the project, which must be there.
    fn named_volume(&mut self, key: &str) -> String {
        let name = self.reader.real_name("volumes", key);
        let made = self.made("volumes", key, &name, labels::VOLUME, "DriverOpts");
        let volume = Resource {
            name: name.clone(),
            make: made.map(Json::Object),
        };
        if !self.recipe.volumes.contains(&volume) {
            self.recipe.volumes.push(volume);
        }
        name
    }
}
