//! What the tool says about itself.

pub mod log;
mod plain;

pub use plain::{plain, plain_json};
