//! What coordinator and workers say to each other: lines over a socket, and parcels.

use std::fmt::{Display, Formatter};

/// An end of a route: the route's number, and which of the two.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct EndId {
    pub route: u32,
    pub side: u8,
}

impl Display for EndId {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.route, if self.side == 0 { 'a' } else { 'b' })
    }
}

/// How far an end has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    pub sent: u64,
    pub received: u64,
    pub closed: bool,
}

/// A worker's line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Report {
    /// It is about to hand this end over.
    Hands { end: EndId, to: u32 },
    /// All its ends have everything, or are closed.
    Done { round: u32 },
    /// An end that it holds.
    Holds { end: EndId, progress: Progress },
    /// So much for this round: how many links it has, sockets and mappings, and how many mappings its links need.
    Listed { links: usize, sockets: usize, mappings: usize, buffers: usize },
    /// The end: what it had before its node was made and after that was closed, as text.
    Ended { before: String, after: String },
    /// Something must not have happened.
    Violation(String),
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Report::Hands { end, to } => write!(f, "hands {} {} {to}", end.route, end.side),
            Report::Done { round } => write!(f, "done {round}"),
            Report::Holds { end, progress: Progress { sent, received, closed } } => {
                write!(f, "holds {} {} {sent} {received} {}", end.route, end.side, u8::from(*closed))
            }
            Report::Listed { links, sockets, mappings, buffers } => write!(f, "listed {links} {sockets} {mappings} {buffers}"),
            Report::Ended { before, after } => write!(f, "ended {before}|{after}"),
            Report::Violation(what) => write!(f, "violation {what}"),
        }
    }
}

impl Report {
    /// Reads a line; none if it is not one, as what a victim could not finish.
    pub fn parse(line: &str) -> Option<Report> {
        let (kind, rest) = line.split_once(' ')?;
        let numbers: Vec<u64> = rest.split(' ').map_while(|word| word.parse().ok()).collect();
        let end = |route: u64, side: u64| EndId { route: route as u32, side: side as u8 };
        Some(match (kind, &numbers[..]) {
            ("hands", &[route, side, to]) => Report::Hands { end: end(route, side), to: to as u32 },
            ("done", &[round]) => Report::Done { round: round as u32 },
            ("holds", &[route, side, sent, received, closed]) => {
                Report::Holds { end: end(route, side), progress: Progress { sent, received, closed: closed == 1 } }
            }
            ("listed", &[links, sockets, mappings, buffers]) => {
                Report::Listed { links: links as usize, sockets: sockets as usize, mappings: mappings as usize, buffers: buffers as usize }
            }
            ("ended", _) => {
                let (before, after) = rest.split_once('|')?;
                Report::Ended { before: before.into(), after: after.into() }
            }
            ("violation", _) => Report::Violation(rest.into()),
            _ => return None,
        })
    }
}

/// What the coordinator tells a worker, one byte each and the round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    Go,
    Stop,
    /// Wait until all routes are direct, and say what there is.
    List,
    End,
}

impl Command {
    pub fn bytes(self, round: u32) -> [u8; 5] {
        let mut out = [0; 5];
        out[0] = self as u8;
        out[1..].copy_from_slice(&round.to_le_bytes());
        out
    }

    pub fn parse(bytes: [u8; 5]) -> Option<(Command, u32)> {
        let command = [Command::Go, Command::Stop, Command::List, Command::End].into_iter().find(|one| *one as u8 == bytes[0])?;
        Some((command, u32::from_le_bytes([bytes[1], bytes[2], bytes[3], bytes[4]])))
    }
}

/// A parcel between coordinator and worker, or between workers, that is not of a route. With its number on its pipe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Carried {
    /// With the end of a pipe to that worker.
    Carrier { to: u32 },
    /// With an end of a route: what it has sent and received so far.
    End { end: EndId, sent: u64, received: u64 },
    /// Nothing more comes in this round.
    Mark { round: u32 },
}

impl Carried {
    pub fn bytes(self, number: u64) -> Vec<u8> {
        let words = match self {
            Carried::Carrier { to } => vec![0, u64::from(to)],
            Carried::End { end, sent, received } => vec![1, u64::from(end.route), u64::from(end.side), sent, received],
            Carried::Mark { round } => vec![2, u64::from(round)],
        };
        std::iter::once(number).chain(words).flat_map(u64::to_le_bytes).collect()
    }

    pub fn parse(bytes: &[u8]) -> Option<(u64, Carried)> {
        let words: Vec<u64> = bytes.chunks(8).map(|word| word.try_into().map(u64::from_le_bytes)).collect::<Result<_, _>>().ok()?;
        Some(match words[..] {
            [number, 0, to] => (number, Carried::Carrier { to: to as u32 }),
            [number, 1, route, side, sent, received] => {
                (number, Carried::End { end: EndId { route: route as u32, side: side as u8 }, sent, received })
            }
            [number, 2, round] => (number, Carried::Mark { round: round as u32 }),
            _ => return None,
        })
    }
}

/// Bytes of a route's parcel before what fills it.
const HEAD: usize = 14;

/// A parcel of a route: what the sender is, and its number there; or at the end of a round how many there were.
pub fn talk(end: EndId, last: bool, number: u64, filler: usize) -> Vec<u8> {
    let mut out = vec![u8::from(last), end.side];
    out.extend(end.route.to_le_bytes());
    out.extend(number.to_le_bytes());
    out.resize(HEAD + filler, number as u8 ^ end.route as u8);
    out
}

/// Whether it is the last of a round, and its number, if it is one that the other end of `to` has sent.
pub fn heard(to: EndId, data: &[u8]) -> Result<(bool, u64), String> {
    let from = EndId { side: 1 - to.side, ..to };
    let number = data.get(6..HEAD).map(|bytes| u64::from_le_bytes(std::array::from_fn(|i| bytes[i])));
    let Some(number) = number else { return Err(format!("{to} got {} bytes", data.len())) };
    let last = data[0] == 1;
    if data != talk(from, last, number, data.len() - HEAD) {
        return Err(format!("{to} got a parcel that {from} did not send: {:?}", &data[..HEAD]));
    }
    Ok((last, number))
}
