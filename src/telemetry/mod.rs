//! What the tool says about itself.

pub mod log;
mod log_writer;
mod sanitize;

pub use log_writer::{AsyncStderr, LogRedirect};
pub use sanitize::{plain, plain_json};
