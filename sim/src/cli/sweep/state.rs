//! The state of a sweep: a file of lines of JSON that only grows. The first line says what is swept, each one after it what some seeds
//! in a row came to. A line counts if it is whole, is chained to the one before it by its checksum, and goes on with the next seed; what
//! follows the last such line is cut off, so that a sweep that was killed goes on behind the last whole block.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::super::args::SweepArgs;
use super::sums::{Chain, Sums};
use crate::code::Code;
use crate::replay::Text;

/// The format of state files.
const FORMAT: u32 = 1;
/// How every one begins.
const MARK: &str = "{\"ipcz_sweep\":";

/// What is swept: a sweep goes on only where all of it is the same.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Header {
    ipcz_sweep: u32,
    scenario: String,
    /// Hash over the scenario file.
    text: String,
    set: Vec<String>,
    policy: String,
    depth: u8,
    plant: Option<String>,
    seeds: String,
    code: Code,
}

impl Header {
    /// Of these seeds of a scenario.
    pub fn new(scenario: &str, text: &Text, args: &SweepArgs) -> Header {
        Header {
            ipcz_sweep: FORMAT,
            scenario: scenario.to_owned(),
            text: format!("{:016x}", xxh3_64(text.text.as_bytes())),
            set: text.set.clone(),
            policy: args.policy.to_string(),
            depth: args.depth,
            plant: args.plant.clone(),
            seeds: args.seeds.to_string(),
            code: Code::this().clone(),
        }
    }

    fn line(&self) -> io::Result<String> {
        Ok(serde_json::to_string(self)? + "\n")
    }

    /// The file that it has if nothing else is said.
    pub fn path(&self, folder: &Path) -> io::Result<PathBuf> {
        let name: String = self.scenario.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        Ok(folder.join(format!("{name}-{:016x}.jsonl", xxh3_64(self.line()?.as_bytes()))))
    }

    /// What another one differs in, a line each: what it is there, what it is here.
    fn differences(&self, there: &Header) -> String {
        let fields = self.fields().into_iter().zip(there.fields()).filter(|(here, there)| here != there);
        fields.map(|((name, here), (_, there))| format!("  {name}\n    there {there}\n    here  {here}\n")).collect()
    }

    /// All of it in words.
    fn fields(&self) -> [(&'static str, String); 8] {
        [
            ("scenario", self.scenario.clone()),
            ("hash of its file", self.text.clone()),
            ("--set", self.set.join(" ")),
            ("--policy", self.policy.clone()),
            ("--depth", self.depth.to_string()),
            ("--plant", self.plant.clone().unwrap_or_default()),
            ("--seeds", self.seeds.clone()),
            ("code", self.code.to_string()),
        ]
    }
}

/// One line after the first.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Block {
    first: u64,
    /// [`Chain`] over all seeds up to here, 32 hexadecimal digits.
    chain: String,
    sums: Sums,
}

/// Why there is no state to go on with.
#[derive(Debug)]
pub enum Refused {
    /// The file is that of something else: what, and what to do.
    Foreign(String),
    /// It can't be read or written.
    Trouble(String),
}

/// The open file, and all that its lines say.
pub struct State {
    path: PathBuf,
    file: File,
    /// Checksum of the last line.
    last: u64,
    next: u64,
    pub sums: Sums,
    pub chain: Chain,
    /// Bytes that were cut off since they were no whole line.
    pub cut: u64,
}

impl State {
    /// Opens the state at `path`, or begins it if it is not there, is empty, or is to be `fresh`.
    ///
    /// # Errors
    /// It is the state of something else; it is in use; it can't be read or written.
    pub fn open(path: &Path, header: &Header, first: u64, fresh: bool) -> Result<State, Refused> {
        let shown = path.display();
        let trouble = |error: &dyn fmt::Display| Refused::Trouble(format!("can't keep the state in {shown}: {error}"));
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(|error| trouble(&error))?;
        }
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = open.map_err(|error| trouble(&error))?;
        if !file.metadata().map_err(|error| trouble(&error))?.is_file() {
            return Err(trouble(&"it is no regular file"));
        }
        match file.try_lock() {
            Ok(()) => (),
            Err(TryLockError::WouldBlock) => return Err(trouble(&"another sweep is writing to it")),
            Err(TryLockError::Error(error)) => return Err(trouble(&error)),
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|error| trouble(&error))?;
        let line = header.line().map_err(|error| trouble(&error))?;
        let begins = line.as_bytes().starts_with(&bytes);
        if !begins && !bytes.starts_with(MARK.as_bytes()) {
            return Err(Refused::Foreign(format!("{shown} is not the state of a sweep, and stays as it is; give another --state FILE")));
        }
        let mut state = State {
            path: path.to_owned(),
            file,
            last: xxh3_64(line.as_bytes()),
            next: first,
            sums: Sums::default(),
            chain: Chain::default(),
            cut: 0,
        };
        if fresh || (begins && bytes.len() < line.len()) {
            state.cut(0).map_err(|error| trouble(&error))?;
            state.write(&line).map_err(Refused::Trouble)?;
            return Ok(state);
        }
        if !bytes.starts_with(line.as_bytes()) {
            let there = bytes.split(|byte| *byte == b'\n').next().and_then(|line| serde_json::from_slice(line).ok());
            let differs = there.map_or_else(|| "  its first line can't be read\n".to_owned(), |there| header.differences(&there));
            let advice = "Give another --state FILE to keep both, or --fresh to begin anew and lose what is there.";
            return Err(Refused::Foreign(format!("{shown} is the state of another sweep:\n{differs}{advice}")));
        }
        let mut good = line.len();
        while let Some(length) = bytes[good..].iter().position(|byte| *byte == b'\n') {
            if state.take(&bytes[good..good + length]).is_none() {
                break;
            }
            good += length + 1;
        }
        state.cut = (bytes.len() - good) as u64;
        state.cut(good as u64).map_err(|error| trouble(&error))?;
        Ok(state)
    }

    /// Adds what a line says, if it is the next one.
    fn take(&mut self, line: &[u8]) -> Option<()> {
        let text = std::str::from_utf8(line).ok()?;
        let (body, sum) = text.rsplit_once(SUM)?;
        let body = format!("{body}}}");
        let sum = u64::from_str_radix(sum.strip_suffix("\"}")?, 16).ok()?;
        if sum != xxh3_64_with_seed(body.as_bytes(), self.last) {
            return None;
        }
        let Block { first, chain, sums } = serde_json::from_str(&body).ok()?;
        if first != self.next {
            return None;
        }
        self.chain = Chain(u128::from_str_radix(&chain, 16).ok()?);
        (self.last, self.next) = (sum, first.wrapping_add(sums.runs));
        self.sums.append(sums);
        Some(())
    }

    /// Puts the next seeds behind it and sees that they are written; they came to `sums`, and all up to them to `chain`.
    ///
    /// # Errors
    /// They can't be written.
    pub fn append(&mut self, sums: Sums, chain: Chain) -> Result<(), String> {
        let block = Block { first: self.next, chain: format!("{:032x}", chain.0), sums };
        let body = serde_json::to_string(&block).map_err(|error| format!("can't put seeds into JSON: {error}"))?;
        self.last = xxh3_64_with_seed(body.as_bytes(), self.last);
        let open = body.strip_suffix('}').unwrap_or(&body);
        self.write(&format!("{open}{SUM}{:016x}\"}}\n", self.last))?;
        self.next = self.next.wrapping_add(block.sums.runs);
        self.chain = chain;
        self.sums.append(block.sums);
        Ok(())
    }

    fn write(&mut self, line: &str) -> Result<(), String> {
        let written = self.file.write_all(line.as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|error| format!("can't write to the state {}: {error}; what is there can be gone on with", self.path.display()))
    }

    /// Leaves only the first bytes of the file, to be written behind.
    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)?;
        self.file.seek(SeekFrom::Start(length)).map(drop)
    }
}

/// What stands before a line's checksum.
const SUM: &str = ",\"sum\":\"";
