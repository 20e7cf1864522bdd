//! Which containers others refer to.

use std::collections::BTreeSet;

use crate::project::{ContainerId, Replica};

/// Containers that another one lives inside of.
pub(super) fn needed(containers: &[Replica]) -> BTreeSet<ContainerId> {
    let references: Vec<_> = containers.iter().flat_map(|c| &c.refers_to).collect();
    containers
        .iter()
        .filter(|c| {
            references.iter().any(|reference| {
                reference.len() >= 12 && c.id.0.starts_with(reference.as_str())
                    || *reference == &c.name
            })
        })
        .map(|c| c.id.clone())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::replica;

    #[test]
    fn a_container_that_others_live_in_is_needed_by_id_or_by_name() {
        let mut containers = vec![replica(1), replica(2), replica(3)];
        let first = containers[0].id.0.clone();
        containers[2].refers_to = vec![first, "shop-web-2".into(), "abc".into()];
        let ids: Vec<_> = containers[..2].iter().map(|c| c.id.clone()).collect();
        assert_eq!(needed(&containers).into_iter().collect::<Vec<_>>(), ids);
    }
}
