//! Names of events that survive changes of code: who tells whom what, for the how manyth time since set-up. Order constraints are made of
//! them, so they are written and read by people: `n1->n2 AcceptBypassLink #1`, `n1 timer #2`, `n3 op #4`.

use std::fmt;

use ipcz::wire::message_name;

/// A process number that is nobody's.
const NOBODY: u32 = u32::MAX;

/// What kind of thing happens.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum EventKind {
    /// A message with this id arrives (wire.md 2).
    Message(u8),
    /// A message that waited for its transport's activation goes on.
    Waiting,
    /// A transport's end learns that it is broken.
    Error,
    /// A transport's end learns that it is inactive.
    Deactivated,
    /// A process's deadline passes.
    Timer,
    /// The workload does something.
    Op,
    /// A loose node's threads go on: what it held back is sent.
    Release,
}

/// Words for the kinds between two processes that are no messages.
const PAIRED: [(&str, EventKind); 4] = [
    ("waiting", EventKind::Waiting),
    ("error", EventKind::Error),
    ("deactivated", EventKind::Deactivated),
    ("release", EventKind::Release),
];
/// Words for the kinds of one process.
const ALONE: [(&str, EventKind); 2] = [("timer", EventKind::Timer), ("op", EventKind::Op)];
/// What stands for nobody: a cut is no node's operation.
const ANY: &str = "*";

/// An event's name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct EventId {
    /// Who caused it: the sender, or the process itself.
    pub from: u32,
    /// Whom it happens to.
    pub to: u32,
    /// What it is.
    pub kind: EventKind,
    /// The how manyth of its kind between the two, from 1, in the order in which they were caused.
    pub nth: u32,
}

impl Default for EventId {
    fn default() -> EventId {
        EventId { from: NOBODY, to: NOBODY, kind: EventKind::Op, nth: 0 }
    }
}

impl EventId {
    /// The name in words; `nodes` are the processes' names.
    pub fn text<'a>(&self, nodes: &'a [String]) -> impl fmt::Display + use<'a> {
        Named { event: *self, nodes }
    }

    /// Reads a name.
    ///
    /// # Errors
    /// What is wrong with it, and what was expected.
    pub fn parse(text: &str, nodes: &[String]) -> Result<EventId, String> {
        const EXPECTED: &str = "expected \"A->B AcceptParcel #1\", \"A timer #1\" or \"A op #1\"";
        let words: Vec<&str> = text.split_whitespace().collect();
        let [who, what, count] = words[..] else { return Err(format!("\"{text}\" names no event; {EXPECTED}")) };
        let nth = count.strip_prefix('#').and_then(|digits| digits.parse().ok()).filter(|nth| *nth > 0);
        let Some(nth) = nth else { return Err(format!("\"{count}\" is no count in \"{text}\"; expected #1, #2 and so on")) };
        let node = |name: &str| match nodes.iter().position(|known| known == name) {
            _ if name == ANY => Ok(NOBODY),
            Some(at) => Ok(at as u32),
            None => Err(format!("no node is called \"{name}\" in \"{text}\"")),
        };
        let known = |words: &[(&str, EventKind)]| words.iter().find(|(word, _)| *word == what).map(|(_, kind)| *kind);
        match who.split_once("->") {
            Some((from, to)) => {
                let message = (0..=u8::MAX).find(|id| message_name(*id) == Some(what)).map(EventKind::Message);
                let kind = known(&PAIRED).or(message);
                let Some(kind) = kind else { return Err(format!("unknown kind of message \"{what}\" in \"{text}\"; {EXPECTED}")) };
                Ok(EventId { from: node(from)?, to: node(to)?, kind, nth })
            }
            None => {
                let Some(kind) = known(&ALONE) else { return Err(format!("unknown kind of event \"{what}\" in \"{text}\"; {EXPECTED}")) };
                Ok(EventId { from: node(who)?, to: node(who)?, kind, nth })
            }
        }
    }
}

struct Named<'a> {
    event: EventId,
    nodes: &'a [String],
}

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EventId { from, to, kind, nth } = self.event;
        let name = |node: u32| self.nodes.get(node as usize).map_or(ANY, String::as_str);
        let word = PAIRED.iter().chain(&ALONE).find(|(_, known)| *known == kind).map(|(word, _)| *word);
        match (kind, word) {
            (EventKind::Timer | EventKind::Op, Some(word)) => write!(f, "{} {word} #{nth}", name(to)),
            (EventKind::Message(id), _) => match message_name(id) {
                Some(word) => write!(f, "{}->{} {word} #{nth}", name(from), name(to)),
                None => write!(f, "{}->{} message-{id} #{nth}", name(from), name(to)),
            },
            (_, word) => write!(f, "{}->{} {} #{nth}", name(from), name(to), word.unwrap_or(ANY)),
        }
    }
}

/// An order constraint: `after` is not taken while `before` has not happened and something else can.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Hold {
    /// Goes first.
    pub before: EventId,
    /// Is held back until then.
    pub after: EventId,
}

/// What became of an order constraint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HoldFate {
    /// It held something back, and then the two came in its order.
    Met,
    /// The two came in its order of themselves.
    Unneeded,
    /// Nothing else could happen any more: the two came the wrong way round.
    Broken,
    /// One of the two never happened.
    NeverCame,
}

impl HoldFate {
    /// Its words.
    pub fn name(self) -> &'static str {
        match self {
            HoldFate::Met => "met",
            HoldFate::Unneeded => "unneeded",
            HoldFate::Broken => "broken",
            HoldFate::NeverCame => "never came",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        let nodes = ["broker", "n1", "n2"].map(String::from);
        for text in ["n1->n2 AcceptBypassLink #1", "broker->n1 error #12", "n2 timer #2", "n1 op #4", "* op #1", "n1->* waiting #3"] {
            let event = EventId::parse(text, &nodes).unwrap();
            assert_eq!(event.text(&nodes).to_string(), text);
        }
    }

    #[test]
    fn a_wrong_name_is_told_in_words() {
        let nodes = ["n1", "n2"].map(String::from);
        for (text, word) in [
            ("n1", "names no event"),
            ("n1->n3 AcceptParcel #1", "\"n3\""),
            ("n1->n2 AcceptParsel #1", "AcceptParsel"),
            ("n1->n2 AcceptParcel #0", "no count"),
            ("n1 AcceptParcel #1", "kind of event"),
        ] {
            let error = EventId::parse(text, &nodes).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }
}
