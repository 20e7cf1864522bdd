//! What the demo's two programs share: reading HTTP/1.1 messages from a socket.
//!
//! - `web` is the app that gets replicated: endpoints that name the host, burn
//!   CPU, sleep, turn unhealthy and exit.
//! - `load` sends it requests from this machine and counts what came back.

pub mod http;
