//! What decisions are about.

use std::fmt;
use std::str::FromStr;

/// What is being decided. The numbers are part of what a seed means: never reuse or change one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Site {
    /// Which of several events at one instant goes first; the actor is the process.
    Tie,
    /// How much later than its link's latency a message arrives; the actor is the receiving transport end.
    Latency,
    /// How many messages in flight a cut link loses; the actor is the receiving transport end.
    Cut,
    /// Random bytes, hence node names; the actor is the process.
    Name,
    /// What a fault plan does.
    Fault(u8),
    /// What a workload does.
    Workload(u8),
    /// Which of the events or activities that are ready goes next; 0 is the one that would without anybody's doing.
    Next,
    /// What a policy draws for itself: never part of a log, since what it decides is.
    Policy(u8),
    /// What a random world is made of.
    Swarm(u8),
    /// How many later messages overtake one of a loose node; the actor is the sending transport end.
    Loose,
    /// Whether a hostile node lies, which lie it tells and what exactly it says; the actor is the process.
    Lie(u8),
}

impl Site {
    /// The site's number for ever.
    pub const fn number(self) -> u32 {
        match self {
            Site::Tie => 1,
            Site::Latency => 2,
            Site::Cut => 3,
            Site::Name => 4,
            Site::Fault(n) => 0x100 + n as u32,
            Site::Workload(n) => 0x200 + n as u32,
            Site::Next => 5,
            Site::Policy(n) => 0x300 + n as u32,
            Site::Swarm(n) => 0x400 + n as u32,
            Site::Loose => 6,
            Site::Lie(n) => 0x500 + n as u32,
        }
    }
}

/// Its name in logs: `latency`, `workload.2`.
impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Site::Tie => f.write_str("tie"),
            Site::Latency => f.write_str("latency"),
            Site::Cut => f.write_str("cut"),
            Site::Name => f.write_str("name"),
            Site::Loose => f.write_str("loose"),
            Site::Next => f.write_str("next"),
            Site::Fault(n) => write!(f, "fault.{n}"),
            Site::Workload(n) => write!(f, "workload.{n}"),
            Site::Policy(n) => write!(f, "policy.{n}"),
            Site::Swarm(n) => write!(f, "swarm.{n}"),
            Site::Lie(n) => write!(f, "lie.{n}"),
        }
    }
}

impl FromStr for Site {
    type Err = ();

    fn from_str(text: &str) -> Result<Site, ()> {
        let family = |text: &str| text.split_once('.').and_then(|(name, n)| Some((name.to_owned(), n.parse::<u8>().ok()?)));
        match (text, family(text)) {
            ("tie", _) => Ok(Site::Tie),
            ("latency", _) => Ok(Site::Latency),
            ("cut", _) => Ok(Site::Cut),
            ("name", _) => Ok(Site::Name),
            ("next", _) => Ok(Site::Next),
            ("loose", _) => Ok(Site::Loose),
            (_, Some((name, n))) => match name.as_str() {
                "fault" => Ok(Site::Fault(n)),
                "workload" => Ok(Site::Workload(n)),
                "policy" => Ok(Site::Policy(n)),
                "swarm" => Ok(Site::Swarm(n)),
                "lie" => Ok(Site::Lie(n)),
                _ => Err(()),
            },
            _ => Err(()),
        }
    }
}
