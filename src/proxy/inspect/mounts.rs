//! Where a directory of this host appears inside a container. Pure: paths are compared as they are
//! given, so links in them are resolved before.

use std::path::{Path, PathBuf};

/// A mount of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// On this host.
    pub source: PathBuf,
    /// In the container.
    pub destination: PathBuf,
    /// Whether the source is a directory.
    pub is_dir: bool,
    /// Whether the container may write there.
    pub is_writable: bool,
}

/// What keeps our files from being seen in a container.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MountProblem {
    /// No mount shows the directory.
    #[error("{} is not mounted into nginx", directory.display())]
    NotMounted {
        /// The directory of the files.
        directory: PathBuf,
    },
    /// A mount shows a single file of it. It goes on showing the file that was there when the
    /// container started, for ever, because a file that is replaced by a rename is another file.
    #[error(
        "{} is mounted as a single file at {}, which never shows a later version of it",
        source_file.display(),
        destination.display()
    )]
    SingleFile {
        /// The file.
        source_file: PathBuf,
        /// Where it is seen.
        destination: PathBuf,
    },
}

/// The path inside the container of a path on this host; `None` when no mount shows it.
pub fn inside(path: &Path, mounts: &[Mount]) -> Option<PathBuf> {
    // The same directory may be mounted twice: any will do, but always the same.
    places(path, mounts).map(|(seen, _)| seen).min()
}

/// Where a container can write to a path on this host.
pub fn writable(path: &Path, mounts: &[Mount]) -> Option<PathBuf> {
    let places = places(path, mounts).filter(|(_, mount)| mount.is_writable);
    places.map(|(seen, _)| seen).min()
}

/// Every place where a path on this host is seen.
fn places<'a>(path: &'a Path, mounts: &'a [Mount]) -> impl Iterator<Item = (PathBuf, &'a Mount)> {
    mounts.iter().filter_map(move |mount| {
        let rest = path.strip_prefix(&mount.source).ok()?;
        let directory = mount.is_dir || rest.as_os_str().is_empty();
        let mut seen = mount.destination.clone();
        // Joining nothing would add a slash.
        seen.extend(rest);
        // Another mount on top of it, or of a part of the way to it, hides it.
        let covered = mounts.iter().any(|other| {
            seen.starts_with(&other.destination)
                && other.destination != mount.destination
                && other.destination.starts_with(&mount.destination)
        });
        (directory && !covered).then_some((seen, mount))
    })
}

/// Everything that is wrong with how the directory of our files is mounted.
pub fn mount_problems(directory: &Path, mounts: &[Mount]) -> Vec<MountProblem> {
    let single = mounts
        .iter()
        .filter(|mount| !mount.is_dir && mount.source.parent() == Some(directory))
        .map(|mount| MountProblem::SingleFile {
            source_file: mount.source.clone(),
            destination: mount.destination.clone(),
        });
    let missing = inside(directory, mounts)
        .is_none()
        .then(|| MountProblem::NotMounted {
            directory: directory.to_owned(),
        });
    single.chain(missing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(source: &str, destination: &str, is_dir: bool) -> Mount {
        Mount {
            source: source.into(),
            destination: destination.into(),
            is_dir,
            is_writable: false,
        }
    }

    fn seen(path: &str, mounts: &[Mount]) -> Option<String> {
        let path = inside(Path::new(path), mounts)?;
        Some(path.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_directory_is_found_through_its_own_mount_or_that_of_a_parent() {
        let own = [mount("/srv/shop/up", "/etc/nginx/up", true)];
        assert_eq!(seen("/srv/shop/up", &own).as_deref(), Some("/etc/nginx/up"));
        let parent = [mount("/srv/shop", "/etc/nginx", true)];
        assert_eq!(
            seen("/srv/shop/up", &parent).as_deref(),
            Some("/etc/nginx/up")
        );
        assert_eq!(seen("/srv/shop2/up", &parent), None);
        assert_eq!(seen("/srv", &parent), None);
    }

    #[test]
    fn a_directory_can_be_written_through_any_mount_that_shows_it() {
        let writable = |mounts: &[Mount]| writable(Path::new("/srv/shop/up"), mounts);
        let read_only = mount("/srv/shop/up", "/etc/nginx/up", true);
        assert_eq!(writable(std::slice::from_ref(&read_only)), None);
        let project = Mount {
            is_writable: true,
            ..mount("/srv/shop", "/app", true)
        };
        let mounts = [read_only.clone(), project.clone()];
        assert_eq!(writable(&mounts), Some("/app/up".into()));
        let hidden = mount("/srv/shop/up", "/app/up", true);
        assert_eq!(writable(&[read_only, project, hidden]), None);
    }

    #[test]
    fn a_mount_on_top_hides_what_is_below() {
        let mounts = [
            mount("/srv/shop", "/etc/nginx", true),
            mount("/elsewhere", "/etc/nginx/up", true),
        ];
        assert_eq!(seen("/srv/shop/up", &mounts), None);
        assert_eq!(
            seen("/srv/shop/conf", &mounts).as_deref(),
            Some("/etc/nginx/conf")
        );
    }

    #[test]
    fn a_single_file_mount_is_named_and_does_not_count_as_the_directory() {
        let mounts = [mount(
            "/srv/up/web.conf",
            "/etc/nginx/conf.d/web.conf",
            false,
        )];
        let problems = mount_problems(Path::new("/srv/up"), &mounts);
        let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "/srv/up/web.conf is mounted as a single file at /etc/nginx/conf.d/web.conf, which \
                 never shows a later version of it",
                "/srv/up is not mounted into nginx"
            ]
        );
        let right = [mount("/srv/up", "/etc/nginx/up", true)];
        assert_eq!(mount_problems(Path::new("/srv/up"), &right), []);
    }
}
