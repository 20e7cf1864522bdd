//! A compose file that has nothing but counts, as somebody writes it for `watch` to keep.

use std::collections::BTreeMap;

use serde_yaml::Value as Yaml;

/// The counts in a text that has nothing else, by service; else what else is in it, for people.
pub fn alone(text: &str) -> Result<BTreeMap<String, u32>, String> {
    let root: Yaml = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
    let entries = |node: &Yaml, at: &str| match node {
        Yaml::Null => Ok(Vec::new()),
        Yaml::Mapping(map) => Ok(map
            .iter()
            .map(|(key, value)| (key.as_str().unwrap_or("?").to_owned(), value.clone()))
            .collect()),
        _ => Err(format!("{at} is no map")),
    };
    let mut counts = BTreeMap::new();
    let number = |value: &Yaml, at: String| {
        // One with a tag is none: `!reset` means something else.
        let number = match value {
            Yaml::Number(number) => number.as_u64(),
            _ => None,
        };
        let count = number.and_then(|count| u32::try_from(count).ok());
        count.ok_or_else(|| format!("{at} is no plain number"))
    };
    for (key, services) in entries(&root, "all of it")? {
        if key != "services" {
            return Err(format!("`{key}` is in it"));
        }
        for (service, keys) in entries(&services, "services")? {
            let at = format!("services.{service}");
            for (key, value) in entries(&keys, &at)? {
                let at = format!("{at}.{key}");
                let count = match key.as_str() {
                    "scale" => number(&value, at)?,
                    "deploy" => match entries(&value, &at)?.as_slice() {
                        [(key, value)] if key == "replicas" => {
                            number(value, format!("{at}.replicas"))?
                        }
                        _ => return Err(format!("`{at}` with more than `replicas` is in it")),
                    },
                    _ => return Err(format!("`{at}` is in it")),
                };
                counts.insert(service.clone(), count);
            }
        }
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_counts_is_told_from_any_other() {
        let counts = alone(
            "# kept\nservices:\n  web:\n    scale: 5\n  api: {deploy: {replicas: 3}}\n  jobs:\n",
        );
        let expected = [("web".to_owned(), 5), ("api".to_owned(), 3)];
        assert_eq!(counts, Ok(BTreeMap::from(expected)));
        for nothing in ["", "# nothing\n", "services:\n", "services: {}\n"] {
            assert_eq!(alone(nothing), Ok(BTreeMap::new()));
        }
        for (text, what) in [
            (
                "services: {web: {scale: 2, image: x}}",
                "`services.web.image`",
            ),
            (
                "services: {web: {scale: \"${N}\"}}",
                "services.web.scale is no",
            ),
            (
                "services: {web: {scale: !reset 2}}",
                "services.web.scale is no",
            ),
            (
                "services: {web: {deploy: {replicas: 2, mode: x}}}",
                "`services.web.deploy`",
            ),
            ("name: shop", "`name`"),
            ("- a", "no map"),
            ("services: [", ""),
        ] {
            let found = alone(text).unwrap_err();
            assert!(found.contains(what), "{text}: {found}");
        }
    }
}
