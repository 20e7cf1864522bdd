//! Making a container like another one.

use bollard::{
    models::{
        ContainerInspectResponse, ContainerStateStatusEnum, ImageInspect, NetworkConnectRequest,
    },
    query_parameters::CreateContainerOptionsBuilder,
};

use crate::{
    engine::{
        EngineError, NewReplica,
        docker::{
            CREATE, Docker, READ,
            create_request::{self, Blueprint},
        },
    },
    project::{ContainerId, labels},
};

/// What to make a sibling from.
#[derive(Debug)]
struct Image {
    /// A name or an id, for the request.
    reference: String,
    /// `linux/arm64/v8`, when it is not what the Engine would choose by itself; else empty.
    platform: String,
}

impl Docker {
    /// Makes a sibling of `source`, connected and with its uploaded files, not started. What was
    /// made is removed again when a step fails.
    pub(super) async fn clone_container(
        &self,
        source: &ContainerId,
        new: &NewReplica,
    ) -> Result<ContainerId, EngineError> {
        let facts = self.facts().await?;
        let inspect = self.inspect_raw(&source.0).await?;
        let image = self.image_of(&inspect, &facts.architecture).await?;
        let blueprint = create_request::blueprint(inspect, new, image.reference, facts.api);
        self.make(blueprint, &image.platform, new, Some(source))
            .await
    }

    /// Makes, connects, and copies the uploaded files from `source`.
    pub(super) async fn make(
        &self,
        blueprint: Blueprint,
        platform: &str,
        new: &NewReplica,
        source: Option<&ContainerId>,
    ) -> Result<ContainerId, EngineError> {
        let Blueprint { body, connect } = blueprint;
        let options = CreateContainerOptionsBuilder::default()
            .name(&new.name)
            .platform(platform)
            .build();
        let made = self
            .within(
                CREATE,
                &format!("making {}", new.name),
                "its image or one of its networks",
                self.client.create_container(Some(options), body),
            )
            .await;
        let id = match made {
            Ok(made) => {
                self.name(&made.id, &new.name);
                ContainerId(made.id)
            }
            Err(error) => self.made_all_the_same(new, error).await?,
        };

        let finish = async {
            for (network, endpoint) in connect {
                let request = NetworkConnectRequest {
                    container: id.0.clone(),
                    endpoint_config: Some(endpoint),
                };
                self.within(
                    CREATE,
                    &format!("connecting {} to {network}", new.name),
                    &format!("network {network}"),
                    self.client.connect_network(&network, request),
                )
                .await?;
            }
            if let Some(source) = source {
                for path in &new.uploads {
                    self.copy_file(source, &id, &new.name, path).await?;
                }
            }
            Ok(())
        };
        match finish.await {
            Ok(()) => Ok(id),
            Err(error) => {
                // The first error is the one to report.
                self.remove_container(&id).await.ok();
                Err(error)
            }
        }
    }

    /// The container that a request made whose answer did not come: the Engine goes on with what it
    /// was asked for, and nobody would know of it. It shows a container only once that is complete.
    async fn made_all_the_same(
        &self,
        new: &NewReplica,
        error: EngineError,
    ) -> Result<ContainerId, EngineError> {
        if !error.is_doubtful() {
            return Err(error);
        }
        let Ok(inspect) = self.inspect_raw(&new.name).await else {
            return Err(error);
        };
        let labels = inspect.config.and_then(|config| config.labels);
        let number = labels.and_then(|found| found.get(labels::NUMBER).cloned());
        let status = inspect.state.and_then(|state| state.status);
        match inspect.id {
            Some(id)
                if number == Some(new.number.to_string())
                    && status == Some(ContainerStateStatusEnum::CREATED) =>
            {
                Ok(ContainerId(id))
            }
            _ => Err(error),
        }
    }

    /// The name that the source was made from, or the id when the name means another image by now:
    /// by name the sibling would get the new image with the old one's command and environment.
    async fn image_of(
        &self,
        inspect: &ContainerInspectResponse,
        architecture: &str,
    ) -> Result<Image, EngineError> {
        let config = inspect.config.as_ref();
        let name = config.and_then(|c| c.image.clone()).unwrap_or_default();
        // With an image store of several platforms the container's own image id is that of one
        // platform, so the label is the better witness. Compose v1 has none.
        let label = config
            .and_then(|c| c.labels.as_ref())
            .and_then(|labels| labels.get(labels::IMAGE));
        let witnesses: Vec<&String> = label.into_iter().chain(&inspect.image).collect();

        let image = match self.image(&name).await? {
            Some(image)
                if witnesses
                    .first()
                    .is_none_or(|id| Some(*id) == image.id.as_ref()) =>
            {
                Some((name.clone(), image))
            }
            _ => {
                let mut found = None;
                for id in witnesses {
                    if let Some(image) = self.image(id).await? {
                        found = Some((id.clone(), image));
                        break;
                    }
                }
                found
            }
        };
        let (reference, image) = image.ok_or(EngineError::ImageMoved { image: name })?;
        let platform = foreign_platform(inspect, &image, architecture).unwrap_or_default();
        Ok(Image {
            reference,
            platform,
        })
    }

    pub(super) async fn image(&self, reference: &str) -> Result<Option<ImageInspect>, EngineError> {
        let inspected = self
            .within(
                READ,
                &format!("inspecting the image {reference}"),
                "the image",
                self.client.inspect_image(reference),
            )
            .await;
        match inspected {
            Ok(image) => Ok(Some(image)),
            Err(EngineError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The platform to ask for, when the source was made for another one than the Engine's own.
pub(super) fn foreign_platform(
    inspect: &ContainerInspectResponse,
    image: &ImageInspect,
    architecture: &str,
) -> Option<String> {
    let chosen = inspect
        .image_manifest_descriptor
        .as_ref()
        .and_then(|descriptor| descriptor.platform.as_ref());
    let (os, arch, variant) = match chosen {
        Some(platform) => (&platform.os, &platform.architecture, &platform.variant),
        None => (&image.os, &image.architecture, &image.variant),
    };
    let arch = arch.as_deref().filter(|arch| !arch.is_empty())?;
    if arch == architecture || architecture.is_empty() {
        return None;
    }
    let os = os.as_deref().filter(|os| !os.is_empty()).unwrap_or("linux");
    Some(match variant.as_deref() {
        None | Some("") => format!("{os}/{arch}"),
        Some(variant) => format!("{os}/{arch}/{variant}"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn platform(inspect: serde_json::Value, image: serde_json::Value) -> Option<String> {
        foreign_platform(
            &serde_json::from_value(inspect).unwrap(),
            &serde_json::from_value(image).unwrap(),
            "amd64",
        )
    }

    #[test]
    fn a_platform_is_asked_for_only_when_the_engine_would_choose_another() {
        let amd = json!({"Os": "linux", "Architecture": "amd64"});
        let arm = json!({"Os": "linux", "Architecture": "arm64", "Variant": "v8"});
        assert_eq!(platform(json!({}), amd.clone()), None);
        assert_eq!(platform(json!({}), arm).as_deref(), Some("linux/arm64/v8"));
        let chosen = json!({"ImageManifestDescriptor": {
            "platform": {"os": "linux", "architecture": "386"}
        }});
        assert_eq!(platform(chosen, amd).as_deref(), Some("linux/386"));
    }
}
