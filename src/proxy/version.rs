//! What an nginx can do, by the version it reports itself. Nothing is assumed: an nginx that does
//! not say what it is gets only what every one understands.

use std::fmt;

/// A version of nginx.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NginxVersion {
    /// 1 in `1.22.0`.
    pub major: u32,
    /// 22 in `1.22.0`.
    pub minor: u32,
    /// 0 in `1.22.0`.
    pub patch: u32,
}

impl NginxVersion {
    /// A version by its three numbers.
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self {
            major,
            minor,
            patch,
        }
    }

    /// Reads the answer to `nginx -v`. `OpenResty` counts as the nginx it is made from; forks with
    /// numbers of their own are not nginx and give `None`.
    ///
    /// ```
    /// use compose_scale::proxy::NginxVersion;
    /// let version = NginxVersion::parse("nginx version: nginx/1.22.1 (Ubuntu)");
    /// assert_eq!(version, Some(NginxVersion::new(1, 22, 1)));
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        let number = text.lines().find_map(|line| {
            let said = line.trim().strip_prefix("nginx version: ")?;
            said.strip_prefix("nginx/")
                .or_else(|| said.strip_prefix("openresty/"))
        })?;
        let mut parts = number
            .split(|c: char| !c.is_ascii_digit())
            .map(|part| part.parse().ok());
        Some(Self::new(parts.next()??, parts.next()??, parts.next()??))
    }
}

impl fmt::Display for NginxVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// What can be written into its files. The default is what every version understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Features {
    /// The version, where it is known.
    pub version: Option<NginxVersion>,
    /// `keepalive_min_timeout`: a reload leaves idle client connections open for a while, so that
    /// a request that is already on its way is still answered.
    pub keepalive_min_timeout: bool,
    /// `sticky cookie`.
    pub sticky: bool,
}

impl Features {
    /// The first version with `keepalive_min_timeout`.
    pub const KEEPALIVE_MIN_TIMEOUT: NginxVersion = NginxVersion::new(1, 27, 4);
    /// The first version with `sticky`.
    pub const STICKY: NginxVersion = NginxVersion::new(1, 29, 6);

    /// What this version can do.
    pub fn of(version: NginxVersion) -> Self {
        Self {
            version: Some(version),
            keepalive_min_timeout: version >= Self::KEEPALIVE_MIN_TIMEOUT,
            sticky: version >= Self::STICKY,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_what_nginx_prints() {
        for (text, version) in [
            ("nginx version: nginx/1.22.1\n", Some((1, 22, 1))),
            ("nginx version: nginx/1.30.6 (Debian)", Some((1, 30, 6))),
            ("nginx version: openresty/1.25.3.1", Some((1, 25, 3))),
            (
                "Tengine version: Tengine/3.1.0\nnginx version: nginx/1.24.0",
                Some((1, 24, 0)),
            ),
            ("Angie version: Angie/1.9.0", None),
            ("nginx version: freenginx/1.29.7", None),
            ("nginx version: nginx/1.22", None),
            ("nginx version: nginx/", None),
            ("", None),
        ] {
            let expected = version.map(|(a, b, c)| NginxVersion::new(a, b, c));
            assert_eq!(NginxVersion::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn features_begin_with_their_version() {
        let at = |a, b, c| Features::of(NginxVersion::new(a, b, c));
        assert!(!at(1, 27, 3).keepalive_min_timeout);
        assert!(at(1, 27, 4).keepalive_min_timeout);
        assert!(!at(1, 29, 5).sticky);
        assert!(at(1, 29, 6).sticky && at(2, 0, 0).sticky);
    }
}
