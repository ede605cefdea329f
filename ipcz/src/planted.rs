//! Deliberate faults (feature `planted`), each off unless also armed at run time: they test the testbed.

/// A fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// A StopProxying is not sent.
    StopProxyingDropped,
    /// A failed lock leaves no waiting bit.
    WaitingForgotten,
    /// A bypass agrees on a length one too small.
    LengthOffByOne,
    /// A lock taken in vain is kept.
    UnlockForgotten,
    /// A parcel's block is freed while the parcel still refers to it.
    BlockFreedEarly,
}

impl Bug {
    /// Every fault with the name it is armed by.
    pub const ALL: [(&'static str, Bug); 5] = [
        ("stop-proxying-dropped", Bug::StopProxyingDropped),
        ("waiting-forgotten", Bug::WaitingForgotten),
        ("length-off-by-one", Bug::LengthOffByOne),
        ("unlock-forgotten", Bug::UnlockForgotten),
        ("block-freed-early", Bug::BlockFreedEarly),
    ];
}

/// Which fault is armed. Without the feature: none, at no cost.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Planted {
    #[cfg(feature = "planted")]
    armed: Option<Bug>,
}

impl Planted {
    /// Whether this fault is armed.
    #[inline(always)]
    pub fn has(self, bug: Bug) -> bool {
        #[cfg(feature = "planted")]
        return self.armed == Some(bug);
        #[cfg(not(feature = "planted"))]
        {
            let _ = bug;
            false
        }
    }

    /// Arms the fault of this name; the error says what there is.
    pub fn arm(&mut self, name: &str) -> Result<(), String> {
        let Some((_, bug)) = Bug::ALL.iter().find(|(known, _)| *known == name) else {
            let names: Vec<_> = Bug::ALL.iter().map(|(known, _)| *known).collect();
            return Err(format!("no planted bug is called `{name}`; there are {}", names.join(", ")));
        };
        #[cfg(feature = "planted")]
        {
            self.armed = Some(*bug);
            Ok(())
        }
        #[cfg(not(feature = "planted"))]
        {
            Err(format!("{bug:?} is not in this build: build with `--features planted`"))
        }
    }
}
