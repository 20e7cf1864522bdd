//! Devices, and what drivers give to a container.

use serde_json::{Map, Value as Json, json};

use super::{SpecBuilder, read};
use crate::compose::tree::Node;

impl SpecBuilder<'_, '_> {
    pub(super) fn devices(&mut self, node: &Node) {
        for item in node.as_list().unwrap_or_default() {
            let written = |key: &str| Some(item.get(key)?.as_text()?.to_owned());
            let (source, target, permissions) = if let Some(text) = item.as_text() {
                if text.contains('=') {
                    self.refuse("devices", "a CDI name is for compose to translate");
                    continue;
                }
                let mut parts = text.split(':').map(ToOwned::to_owned);
                (parts.next(), parts.next(), parts.next())
            } else {
                (written("source"), written("target"), written("permissions"))
            };
            let source = source.unwrap_or_default();
            let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
            let device = json!({
                "PathOnHost": source,
                "PathInContainer": filled(target).unwrap_or(source),
                "CgroupPermissions": filled(permissions).unwrap_or_else(|| "rwm".to_owned()),
            });
            self.push_host("Devices", device);
        }
    }

    pub(super) fn gpus(&mut self, node: &Node) {
        if node.as_text() == Some("all") {
            let all = json!({"Driver": "", "Count": -1, "Capabilities": [["gpu"]]});
            return self.push_host("DeviceRequests", all);
        }
        self.device_requests("gpus", node, Some("gpu"));
    }

    /// Requests to a driver; `capability` goes without saying.
    pub(super) fn device_requests(&mut self, key: &str, node: &Node, capability: Option<&str>) {
        for item in node.as_list().unwrap_or_default() {
            let ids = item.get("device_ids").and_then(read::texts);
            let count = match item.get("count") {
                Some(node) if node.as_text() == Some("all") => Some(-1),
                Some(node) => read::whole(node),
                None if ids.is_some() => Some(0),
                None => Some(-1),
            };
            let Some(count) = count else {
                return self.unread(key);
            };
            let listed = item.get("capabilities").and_then(read::texts);
            let mut capabilities = listed.unwrap_or_default();
            capabilities.extend(capability.map(ToOwned::to_owned));
            let driver = item.get("driver").and_then(Node::as_text);
            let mut request = json!({
                "Driver": driver.unwrap_or_default(),
                "Count": count,
                "Capabilities": [capabilities],
            });
            if let (Some(ids), Some(request)) = (ids, request.as_object_mut()) {
                request.insert("DeviceIDs".into(), json!(ids));
            }
            if let (Some(options), Some(request)) = (item.get("options"), request.as_object_mut()) {
                request.insert("Options".into(), json!(read::pairs(options)));
            }
            self.push_host("DeviceRequests", request);
        }
    }

    pub(super) fn blkio(&mut self, node: &Node) {
        if let Some(weight) = node.get("weight").and_then(read::whole) {
            self.set_host("BlkioWeight", json!(weight));
        }
        for (key, field, number) in [
            ("weight_device", "BlkioWeightDevice", "Weight"),
            ("device_read_bps", "BlkioDeviceReadBps", "Rate"),
            ("device_read_iops", "BlkioDeviceReadIOps", "Rate"),
            ("device_write_bps", "BlkioDeviceWriteBps", "Rate"),
            ("device_write_iops", "BlkioDeviceWriteIOps", "Rate"),
        ] {
            for item in node.get(key).and_then(Node::as_list).unwrap_or_default() {
                let value = item.get(&number.to_lowercase()).and_then(read::size);
                let path = item.get("path").and_then(Node::as_text).unwrap_or_default();
                let mut device = Map::from_iter([("Path".to_owned(), json!(path))]);
                device.insert(number.to_owned(), json!(value.unwrap_or(0)));
                self.push_host(field, Json::Object(device));
            }
        }
    }
}
