//! Whether a file holds what the compose specification allows: known keys, values of the right kind.
//! What compose refuses is refused here, before anything is read from it, except keys that nobody knows:
//! a newer compose may know them. They are noted, for a key that is misspelt would silently do nothing.
//!
//! `spec` is the specification as tables, `leaf` the kinds of single values.

use std::collections::BTreeSet;

use self::{
    scalar::Leaf,
    spec::{INCLUDE, KnownKeys, Others, TOP},
};
use super::{
    error::{Mistakes, UnknownKey},
    tree::{KeyPath, Map as Entries, Node, NodeValue},
};
use crate::policy::validate;

mod scalar;
mod spec;

/// What a value may be.
#[derive(Debug)]
enum ValueShape {
    /// A single value.
    Is(Leaf),
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// A list.
    List(&'static ValueShape, Items),
    /// A map with known keys.
    Map(&'static KnownKeys),
    /// A map whose keys are the user's.
    Names(&'static ValueShape),
    /// One of these; at most one of them is a list and one a map.
    Either(&'static [ValueShape]),
}

/// Whether an item of a list may come twice. Where compose takes doubles away itself, it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Items {
    Any,
    Distinct,
}

/// The way from the root to a value; only a mistake makes a [`KeyPath`] of it.
#[derive(Clone, Copy)]
struct SchemaPath<'a> {
    above: Option<&'a SchemaPath<'a>>,
    step: SchemaStep<'a>,
}

#[derive(Clone, Copy)]
enum SchemaStep<'a> {
    Top,
    Key(&'a str),
    Item(usize),
}

impl<'a> SchemaPath<'a> {
    fn to(&'a self, step: SchemaStep<'a>) -> Self {
        Self {
            above: Some(self),
            step,
        }
    }

    fn path(&self) -> KeyPath {
        let above = self.above.map_or_else(KeyPath::default, SchemaPath::path);
        match self.step {
            SchemaStep::Top => above,
            SchemaStep::Key(key) => above.key(key),
            SchemaStep::Item(at) => above.item(at),
        }
    }

    fn ends_with(&self, keys: &[&str]) -> bool {
        match keys.split_last() {
            None => matches!(self.step, SchemaStep::Top),
            Some((last, before)) => {
                matches!(self.step, SchemaStep::Key(key) if key == *last || *last == "*")
                    && self.above.is_some_and(|above| above.ends_with(before))
            }
        }
    }
}

/// Keys of compose 5. They are read by compose alone, and are no slip of the pen.
const NEWER: [&str; 3] = ["jobs", "no_cache_filter", "pre_start"];

/// Our own key, beside those of the specification.
const OURS: &str = "x-autoscale";

/// Notes everything in a merged file that the specification does not allow, and the keys that it does
/// not know.
pub(crate) fn check(root: &Node, mistakes: &mut Mistakes, unknown: &mut Vec<UnknownKey>) {
    let top = SchemaPath {
        above: None,
        step: SchemaStep::Top,
    };
    SchemaCheck { mistakes, unknown }.value(&ValueShape::Map(&TOP), root, &top);
}

/// Notes what is wrong with an `include` section; says whether it is right.
pub(crate) fn check_include(
    include: &Node,
    mistakes: &mut Mistakes,
    unknown: &mut Vec<UnknownKey>,
) -> bool {
    let mut found = Mistakes::default();
    let top = SchemaPath {
        above: None,
        step: SchemaStep::Top,
    };
    let mut check = SchemaCheck {
        mistakes: &mut found,
        unknown,
    };
    check.value(&INCLUDE, include, &top.to(SchemaStep::Key("include")));
    let right = found.is_empty();
    mistakes.append(found);
    right
}

struct SchemaCheck<'m> {
    mistakes: &'m mut Mistakes,
    unknown: &'m mut Vec<UnknownKey>,
}

impl SchemaCheck<'_> {
    fn say(&mut self, node: &Node, way: &SchemaPath<'_>, message: impl Into<String>) {
        self.mistakes.add(node.at, &way.path(), message);
    }

    fn note(&mut self, node: &Node, way: &SchemaPath<'_>, message: impl Into<String>) {
        let found = UnknownKey {
            at: node.at,
            path: way.path(),
            message: message.into(),
        };
        if !self.unknown.contains(&found) {
            self.unknown.push(found);
        }
    }

    fn value(&mut self, shape: &ValueShape, node: &Node, way: &SchemaPath<'_>) {
        match (shape, &node.value) {
            (ValueShape::Is(leaf), _) if leaf.takes(&node.value) => {}
            (ValueShape::OneOf(words), NodeValue::Text(text)) if words.contains(&text.as_str()) => {
            }
            (ValueShape::List(shape, items), NodeValue::List(list)) => {
                let mut known = BTreeSet::new();
                for (at, item) in list.iter().enumerate() {
                    let way = way.to(SchemaStep::Item(at));
                    self.value(shape, item, &way);
                    if *items == Items::Distinct && !known.insert(item.to_json().to_string()) {
                        self.say(item, &way, format!("found {item} a second time"));
                    }
                }
            }
            (ValueShape::Map(fields), NodeValue::Map(map)) => self.fields(fields, map, node, way),
            (ValueShape::Names(shape), NodeValue::Map(map)) => {
                for (name, node) in map {
                    let way = way.to(SchemaStep::Key(name));
                    match name_rule(&way) {
                        Some(true) if !is_name(name) => self.say(
                            node,
                            &way,
                            "found another character than letters, digits, `.`, `_` and `-` in the name",
                        ),
                        // Compose does not look into these then.
                        Some(false) if !is_name(name) => {
                            if !matches!(node.value, NodeValue::Map(_) | NodeValue::Null) {
                                self.say(node, &way, format!("found {node}, expected a map"));
                            }
                        }
                        None if name.is_empty() && matches!(shape, ValueShape::Is(Leaf::Scalar)) => {
                            self.say(node, &way, "found an empty name");
                        }
                        _ => self.value(shape, node, &way),
                    }
                }
            }
            (ValueShape::Either(shapes), value) => {
                let fits = |shape: &&ValueShape| match shape {
                    ValueShape::List(..) => matches!(value, NodeValue::List(_)),
                    ValueShape::Map(_) | ValueShape::Names(_) => matches!(value, NodeValue::Map(_)),
                    ValueShape::Is(leaf) => leaf.takes(value),
                    ValueShape::OneOf(_) => matches!(value, NodeValue::Text(_)),
                    ValueShape::Either(_) => false,
                };
                match shapes.iter().find(fits) {
                    Some(shape) => self.value(shape, node, way),
                    None => self.wrong(shape, node, way),
                }
            }
            _ => self.wrong(shape, node, way),
        }
    }

    fn wrong(&mut self, shape: &ValueShape, node: &Node, way: &SchemaPath<'_>) {
        let words = shape.words();
        let quotes = match node.value {
            NodeValue::Bool(_) | NodeValue::Int(_) | NodeValue::Float(_) | NodeValue::Date(_)
                if words.contains("a text") =>
            {
                " (put it in quotes)"
            }
            _ => "",
        };
        let message = format!("found {node}, expected {words}{quotes}");
        self.say(node, way, message);
    }

    fn fields(&mut self, fields: &KnownKeys, map: &Entries, node: &Node, way: &SchemaPath<'_>) {
        for (key, node) in map {
            let way = way.to(SchemaStep::Key(key));
            let known = fields
                .keys
                .binary_search_by(|(name, _)| (*name).cmp(key))
                .ok()
                .and_then(|at| fields.keys.get(at));
            match known {
                Some((_, shape)) => self.value(shape, node, &way),
                None if fields.others == Others::Any => {}
                None if fields.others == Others::Own && key.starts_with("x-") => {
                    if is_nearly_ours(key, &way) {
                        self.note(node, &way, format!("has no effect; did you mean `{OURS}`?"));
                    }
                }
                // Files of compose's first version have their services at the top.
                None if is_service(node) && is_top(fields) && !map.contains_key("services") => {
                    let message = "unknown key; it looks like a service: put it below `services:`";
                    self.say(node, &way, message);
                }
                None => self.note(node, &way, unknown(key, node, fields)),
            }
        }
        for key in fields.required {
            if !map.contains_key(*key) {
                let shape = fields.keys.iter().find(|known| known.0 == *key);
                let words = shape.map_or_else(String::new, |(_, shape)| shape.words());
                let message = format!("is missing, expected {words}");
                self.say(node, &way.to(SchemaStep::Key(key)), message);
            }
        }
    }
}

fn unknown(key: &str, node: &Node, fields: &KnownKeys) -> String {
    if is_service(node) && is_top(fields) {
        return "unknown key; it looks like a service: put it below `services:`".into();
    }
    if NEWER.contains(&key) {
        return "a key of a newer compose; left to compose".into();
    }
    let known = fields.keys.iter().map(|(name, _)| *name);
    let known: Vec<&str> = known.chain([OURS]).collect();
    match validate::nearest(key, &known) {
        Some(near) => format!("unknown key; did you mean `{near}`?"),
        None => "unknown key; of a newer compose? left to compose".into(),
    }
}

fn is_top(fields: &KnownKeys) -> bool {
    fields.keys.iter().any(|(name, _)| *name == "services")
}

fn is_service(node: &Node) -> bool {
    ["image", "build"].iter().any(|key| node.get(key).is_some())
}

/// Whether a key is `x-autoscale` with a slip. `x-autoscale-defaults` and the like hold what others refer to.
fn is_nearly_ours(key: &str, way: &SchemaPath<'_>) -> bool {
    let place = way.ends_with(&["*"]) || way.ends_with(&["services", "*", "*"]);
    place
        && key != OURS
        && !key.starts_with("x-autoscale-")
        && validate::nearest(key, &[OURS]).is_some()
}

/// Whether names at this place must be plain (`true`), or are not looked into when they are not
/// (`false`), or are anything.
fn name_rule(way: &SchemaPath<'_>) -> Option<bool> {
    let strict = [
        &["services", "*"][..],
        &["volumes", "*"],
        &["secrets", "*"],
        &["configs", "*"],
        &["services", "*", "networks", "*"],
        &["services", "*", "depends_on", "*"],
    ];
    let loose = [
        &["networks", "*"][..],
        &["models", "*"],
        &["services", "*", "models", "*"],
    ];
    if strict.iter().any(|place| way.ends_with(place)) {
        Some(true)
    } else if loose.iter().any(|place| way.ends_with(place)) {
        Some(false)
    } else {
        None
    }
}

fn is_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    !name.is_empty() && name.bytes().all(allowed)
}

impl ValueShape {
    /// What to say is expected.
    fn words(&self) -> String {
        match self {
            Self::Is(leaf) => leaf.words().to_owned(),
            Self::OneOf(words) => listed(words),
            Self::List(item, _) => match item {
                Self::Is(Leaf::Text) => "a list of texts".to_owned(),
                _ => "a list".to_owned(),
            },
            Self::Map(_) | Self::Names(_) => "a map".to_owned(),
            Self::Either(shapes) => {
                let named = |shape: &&Self| !matches!(shape, Self::Is(Leaf::Nothing));
                let words: Vec<_> = shapes.iter().filter(named).map(Self::words).collect();
                let words: Vec<_> = words.iter().map(String::as_str).collect();
                listed(&words)
            }
        }
    }
}

/// `a, b or c`.
fn listed(words: &[&str]) -> String {
    match words.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, before)) => format!("{} or {last}", before.join(", ")),
        None => String::new(),
    }
}

/// The keys of a service.
#[cfg(test)]
pub(super) fn service_keys() -> impl Iterator<Item = &'static str> {
    spec::SERVICE.keys.iter().map(|(key, _)| *key)
}

/// The keys of `deploy`.
#[cfg(test)]
pub(super) fn deploy_keys() -> impl Iterator<Item = &'static str> {
    spec::build_deploy::DEPLOY.keys.iter().map(|(key, _)| *key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::{tree::Sources, yaml};

    fn found(text: &str) -> (String, Vec<String>) {
        let root = yaml::parse(text, 0).unwrap().remove(0);
        let (mut mistakes, mut unknown) = (Mistakes::default(), Vec::new());
        check(&root, &mut mistakes, &mut unknown);
        let unknown = unknown
            .iter()
            .map(|key| format!("{}: {}: {}", key.at.line, key.path, key.message))
            .collect();
        (mistakes.finish(&Sources::default()).to_string(), unknown)
    }

    fn mistakes(text: &str) -> String {
        found(text).0
    }

    #[test]
    fn names_and_kinds_are_all_told() {
        insta::assert_snapshot!(mistakes("services:\n  b: 1\n  'c d': {}\n"), @"
        services.b: found 1, expected a map
        services.c d: found another character than letters, digits, `.`, `_` and `-` in the name
        ");
    }

    #[test]
    fn unknown_keys_are_left_to_compose_and_named_with_their_line() {
        let (mistakes, unknown) = found(
            "foo: 1\njobs: {}\nx-bar: 2\nx-autoscale-defaults: {}\nservices:\n  a:\n    imag: x\n    pre_start: []\n    x-y: {z: 1}\n    x-autoscaler: {max: 2}\n    autoscale: {max: 2}\n    x-autoscale: {}\n    healthcheck:\n      tests: x\n    build: {no_cache_filter: [a]}\n",
        );
        assert_eq!(mistakes, "");
        insta::assert_snapshot!(unknown.join("\n"), @"
        1: foo: unknown key; of a newer compose? left to compose
        2: jobs: a key of a newer compose; left to compose
        7: services.a.imag: unknown key; did you mean `image`?
        8: services.a.pre_start: a key of a newer compose; left to compose
        10: services.a.x-autoscaler: has no effect; did you mean `x-autoscale`?
        11: services.a.autoscale: unknown key; did you mean `x-autoscale`?
        14: services.a.healthcheck.tests: unknown key; did you mean `test`?
        15: services.a.build.no_cache_filter: a key of a newer compose; left to compose
        ");
    }

    #[test]
    fn a_service_at_the_top_is_told_where_it_belongs() {
        insta::assert_snapshot!(mistakes("web:\n  image: x\n"), @"web: unknown key; it looks like a service: put it below `services:`");
        let (mistakes, unknown) = found("web: {image: x}\nservices: {}\n");
        assert_eq!(mistakes, "");
        assert_eq!(
            unknown,
            ["1: web: unknown key; it looks like a service: put it below `services:`"]
        );
    }

    #[test]
    fn values_of_the_wrong_kind_say_what_is_expected() {
        insta::assert_snapshot!(mistakes("services:\n  a:\n    image: 1\n    ports: x\n    command: {}\n    init: maybe\n    scale: -1\n    cap_add: [1]\n    security_opt: [a, a]\n    environment: 3\n    cgroup: mine\n    stop_grace_period: 10\n    develop: {watch: [{path: .}]}\nnetworks: []\n"), @r#"
        services.a.image: found 1, expected a text (put it in quotes)
        services.a.ports: found "x", expected a list
        services.a.command: found a map, expected a text or a list of texts
        services.a.init: found "maybe", expected true or false
        services.a.scale: found -1, expected a whole number of at least 0
        services.a.cap_add[0]: found 1, expected a text (put it in quotes)
        services.a.security_opt[1]: found "a" a second time
        services.a.environment: found 3, expected a map or a list of texts
        services.a.cgroup: found "mine", expected host or private
        services.a.stop_grace_period: found 10, expected a duration with its unit, like 30s or 1m30s
        services.a.develop.watch[0].action: is missing, expected rebuild, sync, restart, sync+restart or sync+exec
        networks: found a list, expected a map
        "#);
    }

    #[test]
    fn the_keys_of_every_table_are_in_order() {
        fn fields(fields: &KnownKeys) {
            assert!(
                fields.keys.is_sorted_by(|one, two| one.0 < two.0),
                "{:?}",
                fields.keys.iter().map(|key| key.0).collect::<Vec<_>>()
            );
            for key in fields.required {
                assert!(fields.keys.iter().any(|known| known.0 == *key), "{key}");
            }
            fields.keys.iter().for_each(|(_, below)| shape(below));
        }
        fn shape(one: &ValueShape) {
            match one {
                ValueShape::Map(below) => fields(below),
                ValueShape::List(below, _) | ValueShape::Names(below) => shape(below),
                ValueShape::Either(all) => all.iter().for_each(shape),
                ValueShape::Is(_) | ValueShape::OneOf(_) => {}
            }
        }
        fields(&TOP);
    }
}
