//! Bodies of the fuzz targets: each takes any bytes and panics if, and only if, something is wrong with ipcz.
//!
//! libFuzzer calls them through the binaries in `fuzz/fuzz_targets`; `cargo test` replays the corpora through them.

mod schedule;
mod wire;

pub use schedule::schedule;
pub use wire::wire_decode;
