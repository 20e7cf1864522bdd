//! What ingress controllers count, in the words of Prometheus.
//!
//! Names and labels are those of Traefik 3 (`pkg/observability/metrics`; the label `service` is
//! `NAMESPACE-NAME-PORT@kubernetes`, from `pkg/provider/kubernetes/ingress`) and of the community's
//! ingress-nginx (`internal/ingress/metric/collectors/socket.go`).

use super::AutoscaleSubject;

/// Whose metrics tell of the requests to a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controller {
    /// Traefik, which k3s brings.
    Traefik,
    /// The community's ingress-nginx.
    Nginx,
}

impl Controller {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Traefik => "Traefik",
            Self::Nginx => "ingress-nginx",
        }
    }

    /// The counter of requests that have been answered.
    fn requests(self) -> &'static str {
        match self {
            Self::Traefik => "traefik_service_requests_total",
            Self::Nginx => "nginx_ingress_controller_requests",
        }
    }

    /// The histogram of what they took, in seconds.
    fn seconds(self) -> &'static str {
        match self {
            Self::Traefik => "traefik_service_request_duration_seconds",
            Self::Nginx => "nginx_ingress_controller_request_duration_seconds",
        }
    }

    /// Those that the server failed to answer.
    fn failed(self) -> &'static str {
        match self {
            Self::Traefik => "code=~\"5..\"",
            Self::Nginx => "status=~\"5..\"",
        }
    }

    /// A websocket lasts as long as somebody looks at a page, and is idle mostly.
    fn no_websockets(self) -> &'static str {
        match self {
            Self::Traefik => "protocol!=\"websocket\"",
            Self::Nginx => "status!=\"101\"",
        }
    }

    /// The upper bounds of its histogram where nobody has set others, in seconds.
    pub(super) fn buckets(self) -> &'static [f64] {
        match self {
            Self::Traefik => &[0.1, 0.3, 1.2, 5.0],
            Self::Nginx => &[
                0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
            ],
        }
    }

    /// How it is told of others.
    pub(super) fn set_buckets(self) -> &'static str {
        match self {
            Self::Traefik => "--metrics.prometheus.buckets",
            Self::Nginx => "--time-buckets",
        }
    }
}

/// The series of one service.
pub(super) struct SeriesSelector {
    controller: Controller,
    /// Matchers of labels: one of them fits, whatever the scrape has made of the labels.
    selectors: Vec<String>,
    /// A span as Prometheus writes it.
    window: String,
}

impl SeriesSelector {
    /// Of a service behind a controller, over a window. Traefik names the port, so there must be one.
    pub(super) fn new(
        controller: Controller,
        subject: &AutoscaleSubject<'_>,
        window: String,
    ) -> Option<Self> {
        let (namespace, name) = (subject.namespace, subject.name);
        let selectors = match controller {
            Controller::Traefik => {
                let service = normal(&format!("{namespace}-{name}-{}", subject.port?));
                vec![format!("service=\"{service}@kubernetes\"")]
            }
            // A scrape renames labels of the page that it sets itself, as long as it is not told to honour
            // them: both by a ServiceMonitor, the namespace alone by annotations of the pod.
            Controller::Nginx => [
                ("exported_namespace", "exported_service"),
                ("exported_namespace", "service"),
                ("namespace", "service"),
            ]
            .map(|(space, service)| format!("{space}=\"{namespace}\",{service}=\"{name}\""))
            .to_vec(),
        };
        Some(Self {
            controller,
            selectors,
            window,
        })
    }

    /// Requests per second.
    pub(super) fn requests(&self) -> String {
        format!("sum({})", self.rate(self.controller.requests(), ""))
    }

    /// Seconds that requests took, per second: so many are under way at once, by Little's law.
    pub(super) fn in_flight(&self) -> String {
        let seconds = format!("{}_sum", self.controller.seconds());
        format!(
            "sum({})",
            self.rate(&seconds, self.controller.no_websockets())
        )
    }

    /// What this share of the requests took at most, in milliseconds; 0 without requests.
    pub(super) fn latency(&self, share: f64) -> String {
        let seconds = self.controller.seconds();
        let but = self.controller.no_websockets();
        let buckets = self.rate(&format!("{seconds}_bucket"), but);
        let all = self.rate(&format!("{seconds}_count"), but);
        format!(
            "1000 * histogram_quantile({share}, sum by (le) ({buckets})) >= 0 or 0 * sum({all})"
        )
    }

    /// The percentage of requests that failed; 0 without requests.
    pub(super) fn errors(&self) -> String {
        let failed = self.rate(self.controller.requests(), self.controller.failed());
        let all = self.requests();
        // Without a request it is 0 / 0, which is not a number and not at least 0 either; and a controller has no
        // series of failures before the first one.
        format!("100 * sum({failed}) / {all} >= 0 or 0 * {all}")
    }

    fn rate(&self, metric: &str, and: &str) -> String {
        let rates = self.selectors.iter().map(|selector| {
            let comma = if and.is_empty() { "" } else { "," };
            format!("rate({metric}{{{selector}{comma}{and}}}[{}])", self.window)
        });
        rates.collect::<Vec<_>>().join(" or ")
    }
}

/// As Traefik writes names: words of letters and digits, with one dash between them.
fn normal(name: &str) -> String {
    let words = name.split(|c: char| !c.is_alphanumeric());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    words.join("-")
}
