//! Standard output and standard error, neither of which may be there.

use std::io::{Write, stderr, stdout};

/// Something outside the simulation that failed, in one line.
#[derive(Debug)]
pub struct Trouble(pub String);

/// Writes to standard output, through to its end.
///
/// # Errors
/// It can't be written: a closed pipe, a full disk.
pub fn print(text: &str) -> Result<(), Trouble> {
    let mut out = stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|error| Trouble(format!("can't write to standard output: {error}")))
}

/// Writes to standard error. If that fails there is nobody left to tell.
pub fn tell(text: &str) {
    let _ = stderr().lock().write_all(text.as_bytes());
}
