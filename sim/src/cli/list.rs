//! `list`: the scenarios of a folder.

use std::collections::BTreeMap;
use std::path::Path;

use super::args::ListArgs;
use super::exit::Exit;
use super::out::{Trouble, print, tell};
use super::usage;
use crate::scenario::{Scenario, files};

/// Where a line of settings breaks.
const WIDTH: usize = 110;

/// Lists what `args` say: name, purpose and settings of each, or what is wrong with it.
///
/// # Errors
/// Standard output can't be written.
pub fn list(args: &ListArgs) -> Result<Exit, Trouble> {
    let files = match files(&args.folder) {
        Ok(files) if !files.is_empty() => files,
        Ok(_) => {
            tell(&format!("ipcz-sim: no scenario in {}: expected files *.toml\n", args.folder.display()));
            return Ok(Exit::Usage);
        }
        Err(error) => {
            tell(&format!("ipcz-sim: can't read the folder {}: {error}\n", args.folder.display()));
            return Ok(Exit::Usage);
        }
    };
    let mut exit = Exit::Held;
    for file in files {
        match Scenario::load(&file, &[]) {
            Ok(scenario) => print(&entry(&file, &scenario))?,
            Err(error) => {
                exit = Exit::Usage;
                print(&format!("{}\n  can't be run: {error}\n", file.display()))?;
                tell(&usage::explain(&error));
            }
        }
    }
    Ok(exit)
}

fn entry(file: &Path, scenario: &Scenario) -> String {
    let mut out = format!("{}\n  {}: {}\n", file.display(), scenario.name, scenario.purpose);
    let mut line = String::new();
    for (key, value) in &scenario.settings {
        let setting = format!(" {}={value}", short(key, &scenario.settings));
        if !line.is_empty() && line.len() + setting.len() > WIDTH {
            out += &format!("  --set{line}\n");
            line.clear();
        }
        line += &setting;
    }
    if !line.is_empty() {
        out += &format!("  --set{line}\n");
    }
    out
}

/// A key of `[let]` needs no prefix unless it is the tail of another key too.
fn short<'a>(key: &'a str, all: &BTreeMap<String, String>) -> &'a str {
    let Some(name) = key.strip_prefix("let.") else { return key };
    let same = all.keys().filter(|other| other.rsplit('.').next() == Some(name)).count();
    if same == 1 { name } else { key }
}
