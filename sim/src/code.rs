//! Which code this is: what a replay file and a sweep's state say they were made with.

use std::fmt;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// A build of the simulator.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Code {
    /// Of the crate.
    pub version: String,
    /// The environment's `IPCZ_COMMIT` when it was built, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// `release` or `debug`.
    pub profile: String,
    /// Features that change what a run can be.
    pub features: Vec<String>,
    /// Hash over the program's file; empty if it could not be read.
    pub program: String,
}

impl Code {
    /// The code that is running.
    pub fn this() -> &'static Code {
        static THIS: OnceLock<Code> = OnceLock::new();
        THIS.get_or_init(|| {
            let program = std::env::current_exe().and_then(std::fs::read);
            let features = [("leaks", cfg!(feature = "leaks")), ("planted", cfg!(feature = "planted"))];
            Code {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                commit: option_env!("IPCZ_COMMIT").map(str::to_owned),
                profile: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
                features: features.iter().filter(|(_, on)| *on).map(|(name, _)| (*name).to_owned()).collect(),
                program: program.map(|bytes| format!("{:016x}", xxh3_64(&bytes))).unwrap_or_default(),
            }
        })
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Code { version, commit, profile, features, program } = self;
        write!(f, "{version}, commit {}, {profile}, ", commit.as_deref().unwrap_or("unknown"))?;
        match features.as_slice() {
            [] => write!(f, "no features")?,
            some => write!(f, "features {}", some.join(" "))?,
        }
        write!(f, ", program {}", if program.is_empty() { "unreadable" } else { program })
    }
}
