//! Requests at a rate, whether the last ones have been answered or not.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http_body_util::{BodyExt as _, Empty};
use hyper::{Uri, body::Bytes};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

/// A request without an answer by then has failed.
const PATIENCE: Duration = Duration::from_secs(10);

type Requests = Client<HttpConnector, Empty<Bytes>>;

/// What became of requests.
#[derive(Debug, Clone, Default)]
pub(super) struct RequestOutcomes {
    /// How long the answered ones took, in milliseconds.
    pub(super) took: Vec<f64>,
    /// How many failed.
    pub(super) failed: u32,
    /// The first failure, in words.
    pub(super) why: Option<String>,
}

impl RequestOutcomes {
    pub(super) fn count(&self) -> usize {
        self.took.len() + self.failed as usize
    }

    /// The time within which 95% were answered.
    pub(super) fn p95(&self) -> Option<f64> {
        let mut took = self.took.clone();
        took.sort_by(f64::total_cmp);
        let last = took.len().checked_sub(1)?;
        took.get(last * 95 / 100).copied()
    }
}

/// Visitors of a page, until they are dropped.
pub(super) struct Visitors {
    rate: watch::Sender<f64>,
    fates: Arc<Mutex<RequestOutcomes>>,
    tasks: JoinSet<()>,
}

impl Visitors {
    /// So many a second, of one page.
    pub(super) fn begin(page: Uri, rate: f64) -> Self {
        let client: Requests = Client::builder(TokioExecutor::new()).build_http();
        let fates = Arc::new(Mutex::new(RequestOutcomes::default()));
        let (rate, wanted) = watch::channel(rate);
        let mut tasks = JoinSet::new();
        tasks.spawn(come(client, page, wanted, Arc::clone(&fates)));
        Self { rate, fates, tasks }
    }

    /// From now on so many a second.
    pub(super) fn become_(&self, rate: f64) {
        self.rate.send_replace(rate);
    }

    /// What became of all so far.
    pub(super) fn fates(&self) -> RequestOutcomes {
        self.fates
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// No more come; those under way are waited for.
    pub(super) async fn end(mut self) -> RequestOutcomes {
        drop(self.rate);
        while self.tasks.join_next().await.is_some() {}
        std::mem::take(&mut *self.fates.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn come(
    client: Requests,
    page: Uri,
    mut wanted: watch::Receiver<f64>,
    fates: Arc<Mutex<RequestOutcomes>>,
) {
    let mut under_way = JoinSet::new();
    let mut next = Instant::now();
    loop {
        tokio::select! {
            changed = wanted.changed() => {
                if changed.is_err() {
                    break;
                }
                next = Instant::now();
            }
            () = sleep_until(next) => {
                next += Duration::from_secs_f64(1.0 / *wanted.borrow());
                under_way.spawn(visit(client.clone(), page.clone(), Arc::clone(&fates)));
            }
            Some(_) = under_way.join_next(), if !under_way.is_empty() => {}
        }
    }
    while under_way.join_next().await.is_some() {}
}

async fn visit(client: Requests, page: Uri, fates: Arc<Mutex<RequestOutcomes>>) {
    let began = Instant::now();
    let asked = timeout(PATIENCE, async {
        let answer = client.get(page).await.map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            cause.unwrap_or_else(|| error.to_string())
        })?;
        let status = answer.status();
        answer
            .into_body()
            .collect()
            .await
            .map_err(|error| error.to_string())?;
        if status.is_success() {
            Ok(())
        } else {
            Err(status.to_string())
        }
    });
    let fate = asked
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {}s", PATIENCE.as_secs())));
    let mut fates = fates.lock().unwrap_or_else(PoisonError::into_inner);
    match fate {
        Ok(()) => fates.took.push(began.elapsed().as_secs_f64() * 1e3),
        Err(why) => {
            fates.failed += 1;
            fates.why.get_or_insert(why);
        }
    }
}
