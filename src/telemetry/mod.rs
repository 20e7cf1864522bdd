//! What the tool says about itself.

mod divert;
pub mod log;
mod plain;

pub use divert::{Beside, Divert};
pub use plain::{plain, plain_json};
