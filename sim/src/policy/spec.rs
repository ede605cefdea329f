//! Policies as they are written: `pct:3`, `hold:AcceptBypassLink`, `portfolio`.

use std::fmt;
use std::str::FromStr;

use ipcz::wire::message_name;
use xxhash_rust::xxh3::xxh3_64;

use super::target::Matcher;
use super::{Delays, Pct, Pctcp, Policy, Pos, Swap};

/// What a run is ordered by.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum PolicySpec {
    /// Virtual time, with latencies and jitter: no policy at all.
    #[default]
    Timed,
    /// First in, first out.
    Fifo,
    /// Uniformly random.
    Random,
    /// PCT for bugs of this depth.
    Pct(u32),
    /// PCT over causal chains, for bugs of this depth.
    Pctcp(u32),
    /// Partial order sampling.
    Pos,
    /// So many random delays.
    Delay(u32),
    /// Two messages change places.
    Swap,
    /// A kind of message is held back.
    HoldKind(u8),
    /// Everything for a node is held back.
    HoldNode(String),
    /// Everything between two nodes is held back.
    HoldLink(String, String),
    /// One of the others, by seed.
    Portfolio,
}

/// A policy that can't be had.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadPolicy(String);

/// How long a run is about to be: measured on one run in the default order, since change points are spread over it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Length(pub u64);

/// What the portfolio holds; each as often as it stands here. A seed means one of them for ever: only ever append by replacing a
/// whole list under a new name.
const PORTFOLIO: [PolicySpec; 16] = [
    PolicySpec::Timed,
    PolicySpec::Timed,
    PolicySpec::Timed,
    PolicySpec::Random,
    PolicySpec::Random,
    PolicySpec::Random,
    PolicySpec::Pos,
    PolicySpec::Pos,
    PolicySpec::Pct(2),
    PolicySpec::Pct(3),
    PolicySpec::Pctcp(2),
    PolicySpec::Pctcp(3),
    PolicySpec::Pctcp(4),
    PolicySpec::Delay(3),
    PolicySpec::Swap,
    PolicySpec::HoldKind(0),
];

/// Kinds that the portfolio holds back: those whose order decides how routes change (wire.md 9.1).
const HELD: [u8; 12] = [10, 11, 14, 20, 22, 30, 31, 32, 33, 34, 35, 36];

impl PolicySpec {
    /// The policy of one run: the portfolio's choice for its seed, or this one.
    pub fn of_seed(&self, seed: u64) -> PolicySpec {
        if *self != PolicySpec::Portfolio {
            return self.clone();
        }
        let hash = xxh3_64(&seed.to_le_bytes());
        match &PORTFOLIO[hash as usize % PORTFOLIO.len()] {
            PolicySpec::HoldKind(_) => PolicySpec::HoldKind(HELD[(hash >> 32) as usize % HELD.len()]),
            other => other.clone(),
        }
    }

    /// The depth that it aims at and has a bound for, if it has.
    pub fn depth(&self) -> Option<u32> {
        match self {
            PolicySpec::Pct(depth) | PolicySpec::Pctcp(depth) => Some(*depth),
            _ => None,
        }
    }

    /// Whether it must know how long a run is.
    pub fn needs_length(&self) -> bool {
        match self {
            PolicySpec::Pct(depth) | PolicySpec::Pctcp(depth) => *depth > 1,
            PolicySpec::Delay(_) | PolicySpec::Swap | PolicySpec::Portfolio => true,
            _ => false,
        }
    }

    /// Whether there is such a policy among these nodes.
    ///
    /// # Errors
    /// A node that it names does not exist.
    pub fn check(&self, nodes: &[String]) -> Result<(), BadPolicy> {
        self.build(nodes, Length(1)).map(|_| ())
    }

    /// The policy, for runs of about this length; none for virtual time. The portfolio is none: ask [`PolicySpec::of_seed`] first.
    ///
    /// # Errors
    /// A node that it names does not exist.
    pub fn build(&self, nodes: &[String], Length(length): Length) -> Result<Option<Policy>, BadPolicy> {
        let node = |name: &String| match nodes.iter().position(|known| known == name) {
            Some(at) => Ok(at as u32),
            None => Err(BadPolicy(format!("policy {self}: no node is called \"{name}\""))),
        };
        Ok(Some(match self {
            PolicySpec::Timed | PolicySpec::Portfolio => return Ok(None),
            PolicySpec::Fifo => Policy::Fifo,
            PolicySpec::Random => Policy::Random,
            PolicySpec::Pct(depth) => Policy::Pct(Pct::new(*depth, length)),
            PolicySpec::Pctcp(depth) => Policy::Pctcp(Pctcp::new(*depth, length)),
            PolicySpec::Pos => Policy::Pos(Pos::default()),
            PolicySpec::Delay(count) => Policy::Delay(Delays::new(*count, length)),
            PolicySpec::Swap => Policy::Swap(Swap::new(length)),
            PolicySpec::HoldKind(id) => Policy::Hold(Matcher::Kind(*id)),
            PolicySpec::HoldNode(name) => Policy::Hold(Matcher::Node(node(name)?)),
            PolicySpec::HoldLink(a, b) => Policy::Hold(Matcher::Link(node(a)?, node(b)?)),
        }))
    }
}

impl fmt::Display for PolicySpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PolicySpec::Timed => f.write_str("timed"),
            PolicySpec::Fifo => f.write_str("fifo"),
            PolicySpec::Random => f.write_str("random"),
            PolicySpec::Pct(depth) => write!(f, "pct:{depth}"),
            PolicySpec::Pctcp(depth) => write!(f, "pctcp:{depth}"),
            PolicySpec::Pos => f.write_str("pos"),
            PolicySpec::Delay(count) => write!(f, "delay:{count}"),
            PolicySpec::Swap => f.write_str("swap"),
            PolicySpec::HoldKind(id) => write!(f, "hold:{}", message_name(*id).unwrap_or("?")),
            PolicySpec::HoldNode(name) => write!(f, "hold:node={name}"),
            PolicySpec::HoldLink(a, b) => write!(f, "hold:link={a}-{b}"),
            PolicySpec::Portfolio => f.write_str("portfolio"),
        }
    }
}

/// Greatest depth and number of delays.
const MOST: u32 = 16;

impl FromStr for PolicySpec {
    type Err = BadPolicy;

    fn from_str(text: &str) -> Result<PolicySpec, BadPolicy> {
        const KNOWN: &str =
            "timed, fifo, random, pct:D, pctcp:D, pos, delay:D, swap, hold:KIND, hold:node=NAME, hold:link=A-B or portfolio";
        let (name, rest) = text.split_once(':').map_or((text, None), |(name, rest)| (name, Some(rest)));
        let number = || match rest.map(str::parse) {
            Some(Ok(number)) if (1..=MOST).contains(&number) => Ok(number),
            _ => Err(BadPolicy(format!("\"{text}\" needs a number from 1 to {MOST}, as in {name}:3"))),
        };
        Ok(match (name, rest) {
            ("timed", None) => PolicySpec::Timed,
            ("fifo", None) => PolicySpec::Fifo,
            ("random", None) => PolicySpec::Random,
            ("pos", None) => PolicySpec::Pos,
            ("swap", None) => PolicySpec::Swap,
            ("portfolio", None) => PolicySpec::Portfolio,
            ("pct", _) => PolicySpec::Pct(number()?),
            ("pctcp", _) => PolicySpec::Pctcp(number()?),
            ("delay", _) => PolicySpec::Delay(number()?),
            ("hold", Some(what)) => match (what.split_once('='), (0..=u8::MAX).find(|id| message_name(*id) == Some(what))) {
                (Some(("node", node)), _) => PolicySpec::HoldNode(node.to_owned()),
                (Some(("link", link)), _) => match link.split_once('-') {
                    Some((a, b)) => PolicySpec::HoldLink(a.to_owned(), b.to_owned()),
                    None => return Err(BadPolicy(format!("\"{text}\" names no link; expected two nodes, as in hold:link=A-B"))),
                },
                (_, Some(id)) => PolicySpec::HoldKind(id),
                _ => {
                    let help = "expected a kind of message (hold:AcceptBypassLink), hold:node=NAME or hold:link=A-B";
                    return Err(BadPolicy(format!("\"{what}\" is nothing that can be held back; {help}")));
                }
            },
            _ => return Err(BadPolicy(format!("unknown policy \"{text}\"; expected {KNOWN}"))),
        })
    }
}
