//! Copying a file from one container to another: configs and secrets that compose wrote into the
//! container itself are in no description of it.

use std::path::Path;

use bollard::query_parameters::{
    DownloadFromContainerOptionsBuilder, UploadToContainerOptionsBuilder,
};
use futures_util::TryStreamExt;

use crate::{
    engine::{
        EngineError,
        docker::{Docker, READ},
    },
    project::{ContainerId, container_spec::File},
};

/// A tar archive is made of blocks of this size and ends with two empty ones.
const BLOCK: usize = 512;

impl Docker {
    /// Copies one file with its owner and mode.
    pub(super) async fn copy_file(
        &self,
        source: &ContainerId,
        target: &ContainerId,
        target_name: &str,
        path: &str,
    ) -> Result<(), EngineError> {
        let options = DownloadFromContainerOptionsBuilder::default()
            .path(path)
            .build();
        let archive = self
            .client
            .download_from_container(&source.0, Some(options))
            .try_fold(Vec::new(), |mut archive, chunk| async move {
                archive.extend_from_slice(&chunk);
                Ok(archive)
            });
        let archive = self
            .within(
                READ,
                &format!("reading {path} of {source}"),
                &format!("{path} of {source}"),
                archive,
            )
            .await?;

        let parent = Path::new(path)
            .parent()
            .and_then(Path::to_str)
            .unwrap_or("/");
        match self
            .unpack(target, target_name, parent, archive.clone())
            .await
        {
            // Compose made the directory as it wrote the file.
            Err(EngineError::NotFound { .. }) => {
                if let Some(directory) = directory_archive(parent) {
                    self.unpack(target, target_name, "/", directory).await?;
                }
                self.unpack(target, target_name, parent, archive).await
            }
            other => other,
        }
    }

    /// Writes a file; the Engine makes the directories above it, as it does for compose.
    pub(super) async fn write_file(
        &self,
        target: &ContainerId,
        target_name: &str,
        file: &File,
    ) -> Result<(), EngineError> {
        let path = file.path.trim_start_matches('/');
        let owner = (file.mode, file.uid, file.gid);
        let archive = archive(path, b'0', owner, file.content.as_bytes()).ok_or_else(|| {
            EngineError::UnexpectedResponse {
                doing: format!("writing {} into {target_name}", file.path),
                why: "its path or its owner is too long".into(),
            }
        })?;
        self.unpack(target, target_name, "/", archive).await
    }

    async fn unpack(
        &self,
        target: &ContainerId,
        target_name: &str,
        directory: &str,
        archive: Vec<u8>,
    ) -> Result<(), EngineError> {
        let options = UploadToContainerOptionsBuilder::default()
            .path(directory)
            .build();
        self.within(
            READ,
            &format!("writing into {directory} of {target_name}"),
            &format!("{directory} of {target_name}"),
            self.client.upload_to_container(
                &target.0,
                Some(options),
                bollard::body_full(archive.into()),
            ),
        )
        .await
    }
}

/// A tar archive with one directory in it, mode 0755 and owned by root; the Engine makes the ones
/// above it. `None` when the path is too long for a plain header.
fn directory_archive(path: &str) -> Option<Vec<u8>> {
    let name = format!("{}/", path.trim_matches('/'));
    archive(&name, b'5', (0o755, 0, 0), &[])
}

/// A tar archive with one entry. `None` when something of it does not fit into a plain header.
fn archive(
    name: &str,
    kind: u8,
    (mode, uid, gid): (u32, u32, u32),
    content: &[u8],
) -> Option<Vec<u8>> {
    if name.len() > 100 || mode.max(uid).max(gid) > 0o7_777_777 {
        return None;
    }
    let mut header = [0_u8; BLOCK];
    let mut put = |at: usize, text: &[u8]| header[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    put(100, format!("{mode:07o}\0").as_bytes());
    put(108, format!("{uid:07o}\0").as_bytes());
    put(116, format!("{gid:07o}\0").as_bytes());
    put(124, format!("{:011o}\0", content.len()).as_bytes());
    put(136, b"00000000000\0");
    // The checksum is that of a header with spaces in its place.
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut archive = header.to_vec();
    archive.extend(content);
    archive.resize((3 + content.len().div_ceil(BLOCK)) * BLOCK, 0);
    Some(archive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_archive_is_a_valid_tar() {
        let archive = directory_archive("/etc/app/conf.d").unwrap();
        assert_eq!(archive.len(), 3 * BLOCK);
        assert!(archive.starts_with(b"etc/app/conf.d/\0"));
        let sum: u32 = archive[..BLOCK]
            .iter()
            .enumerate()
            .map(|(at, &byte)| {
                if (148..156).contains(&at) {
                    32
                } else {
                    u32::from(byte)
                }
            })
            .sum();
        assert_eq!(&archive[148..154], format!("{sum:06o}").as_bytes());
        assert_eq!(directory_archive(&"x/".repeat(80)), None);
    }
}
