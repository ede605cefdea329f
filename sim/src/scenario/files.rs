//! Where scenarios are.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Every scenario file of a folder and those below it, in order of their names.
///
/// # Errors
/// A folder can't be read.
pub fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
