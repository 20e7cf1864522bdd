//! Where the Engine listens: the forms of `DOCKER_HOST`, and why a socket may be closed to us.

use std::{fmt, fs, io, os::unix::fs::MetadataExt, path::Path, path::PathBuf};

use crate::engine::EngineError;

/// The socket of an Engine that was installed without further thought.
const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// The address of an Engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EngineAddress {
    /// A unix socket on this machine.
    Unix(PathBuf),
    /// Plain HTTP at `host:port`.
    Tcp(String),
}

impl EngineAddress {
    /// Reads a `DOCKER_HOST`. Empty or absent means the default socket.
    pub(super) fn parse(docker_host: Option<&str>) -> Result<Self, EngineError> {
        let text = docker_host.unwrap_or_default().trim();
        if text.is_empty() {
            return Ok(Self::Unix(PathBuf::from(DEFAULT_SOCKET)));
        }
        let refuse = |why: &str| {
            Err(EngineError::Unreachable {
                address: text.to_owned(),
                why: why.to_owned(),
            })
        };
        match text.split_once("://") {
            Some(("unix", path)) if path.starts_with('/') => Ok(Self::Unix(PathBuf::from(path))),
            Some(("unix", _)) => {
                refuse("a unix socket needs an absolute path (unix:///run/docker.sock)")
            }
            Some(("tcp" | "http", address)) => {
                let address = address.trim_end_matches('/');
                if address.is_empty() {
                    refuse("the address is empty (tcp://127.0.0.1:2375)")
                } else if has_port(address) {
                    Ok(Self::Tcp(address.to_owned()))
                } else {
                    Ok(Self::Tcp(format!("{address}:2375")))
                }
            }
            Some(("https", _)) => refuse("TLS is not supported; run on the Engine's machine"),
            Some(("ssh", _)) => refuse("ssh is not supported; run on the Engine's machine"),
            Some((scheme, _)) => refuse(&format!(
                "`{scheme}://` is not supported; unix:// and tcp:// are"
            )),
            None => refuse("DOCKER_HOST needs a scheme (unix:///run/docker.sock)"),
        }
    }

    /// Whether the Engine's containers are on this machine for sure.
    /// The socket, where it is one.
    pub(super) fn socket(&self) -> Option<&Path> {
        match self {
            Self::Unix(path) => Some(path),
            Self::Tcp(_) => None,
        }
    }

    pub(super) fn is_local(&self) -> bool {
        matches!(self, Self::Unix(_))
    }

    /// Why a connection failed, in the words the user can act on.
    pub(super) fn failure(&self, kind: io::ErrorKind, why: String) -> EngineError {
        let address = self.to_string();
        match (kind, self) {
            (io::ErrorKind::PermissionDenied, Self::Unix(path)) => EngineError::Forbidden {
                address,
                group: owning_group(path),
            },
            (io::ErrorKind::NotFound, Self::Unix(_)) => EngineError::Unreachable {
                address,
                why: "there is no such socket".into(),
            },
            (io::ErrorKind::ConnectionRefused, Self::Unix(_)) => EngineError::Unreachable {
                address,
                why: "nothing listens on the socket".into(),
            },
            _ => EngineError::Unreachable { address, why },
        }
    }
}

impl fmt::Display for EngineAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

fn has_port(address: &str) -> bool {
    address
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok())
}

/// The name of the group that owns the socket, when a member of it could use it.
fn owning_group(socket: &Path) -> Option<String> {
    let group = fs::metadata(socket).ok()?.gid();
    group_name(&fs::read_to_string("/etc/group").ok()?, group)
}

/// The name of a group in the text of `/etc/group` (`docker:x:998:alice,bob`).
fn group_name(groups: &str, id: u32) -> Option<String> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse::<u32>().ok()? == id).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(docker_host: &str) -> String {
        EngineAddress::parse(Some(docker_host))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn nothing_set_means_the_default_socket() {
        let default = EngineAddress::Unix("/var/run/docker.sock".into());
        assert_eq!(EngineAddress::parse(None).unwrap(), default);
        assert_eq!(EngineAddress::parse(Some("")).unwrap(), default);
    }

    #[test]
    fn sockets_and_plain_tcp_are_understood() {
        let parse = |text| EngineAddress::parse(Some(text)).unwrap();
        assert_eq!(
            parse("unix:///run/d.sock"),
            EngineAddress::Unix("/run/d.sock".into())
        );
        assert_eq!(
            parse("tcp://10.0.0.5:2375/"),
            EngineAddress::Tcp("10.0.0.5:2375".into())
        );
        assert_eq!(
            parse("tcp://engine"),
            EngineAddress::Tcp("engine:2375".into())
        );
        assert_eq!(
            parse("tcp://[::1]:2375"),
            EngineAddress::Tcp("[::1]:2375".into())
        );
        assert_eq!(
            parse("unix:///run/d.sock").to_string(),
            "unix:///run/d.sock"
        );
    }

    #[test]
    fn what_cannot_be_spoken_is_refused_by_name() {
        assert_eq!(
            why("ssh://me@host"),
            "cannot reach the Docker Engine at ssh://me@host: ssh is not supported; run on the Engine's machine"
        );
        assert!(why("https://host:2376").contains("TLS is not supported"));
        assert!(why("npipe:////./pipe/docker").contains("`npipe://` is not supported"));
        assert!(why("/run/docker.sock").contains("needs a scheme"));
        assert!(why("unix://docker.sock").contains("absolute path"));
    }

    #[test]
    fn a_group_is_found_by_its_number() {
        let groups = "root:x:0:\ndocker:x:998:alice,bob\nbroken\n";
        assert_eq!(group_name(groups, 998).as_deref(), Some("docker"));
        assert_eq!(group_name(groups, 5), None);
    }

    #[test]
    fn a_closed_socket_is_forbidden_not_unreachable() {
        let host = EngineAddress::Unix("/".into());
        assert!(matches!(
            host.failure(io::ErrorKind::PermissionDenied, String::new()),
            EngineError::Forbidden { group: Some(group), .. } if group == "root"
        ));
        assert!(matches!(
            host.failure(io::ErrorKind::ConnectionRefused, String::new()),
            EngineError::Unreachable { .. }
        ));
    }
}
