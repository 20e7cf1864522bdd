//! What only nginx can be asked, beside what any proxy does.

use std::{future::Future, pin::Pin};

use crate::proxy::ProxyError;

/// The answer to a question, later.
pub type NginxAnswer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The side of a proxy that only nginx has.
pub trait NginxAccess: Send + Sync {
    /// What each one that runs is configured with, by its name, for
    /// [`Configuration::parse`](crate::proxy::inspect::Configuration::parse). One that cannot be asked,
    /// or does not accept what it has, is left out.
    fn configurations(&self) -> NginxAnswer<'_, Vec<(String, String)>>;

    /// Makes it open its logs again: they were moved aside, or deleted.
    fn reopen_logs(&self) -> NginxAnswer<'_, Result<(), ProxyError>>;

    /// Why it does not write the log that load is read from, as of the last publish that succeeded.
    fn log_refused(&self) -> Option<String>;
}
