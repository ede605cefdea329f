//! One edge of a router: the link it uses and, during a bypass, the link it is leaving (routing.md 5).

use super::link::RouterLink;

/// A link on its way out, and which parcels are still its business.
#[derive(Clone, Debug)]
pub struct Decay {
    /// The link.
    pub link: RouterLink,
    /// Numbers below this still go over it; unknown: all of them.
    pub length_to: Option<u64>,
    /// Numbers below this are still expected from it.
    pub length_from: Option<u64>,
}

/// At most two links; stable while none of them decays.
#[derive(Clone, Default, Debug)]
pub struct Edge {
    /// The link in use.
    pub primary: Option<RouterLink>,
    /// The link being left.
    pub decay: Option<Box<Decay>>,
}

impl Edge {
    /// Whether no link decays.
    pub fn is_stable(&self) -> bool {
        self.decay.is_none()
    }

    /// Whether no link is left.
    pub fn is_empty(&self) -> bool {
        self.primary.is_none() && self.decay.is_none()
    }

    /// Turns the primary link into the decaying one; false if there is none or one decays already.
    pub fn begin_decay(&mut self, length_to: Option<u64>, length_from: Option<u64>) -> bool {
        if self.decay.is_some() {
            return false;
        }
        let Some(link) = self.primary.take() else { return false };
        self.decay = Some(Box::new(Decay { link, length_to, length_from }));
        true
    }

    /// A length of the decaying link that was not known is now.
    pub fn learn(&mut self, length_to: Option<u64>, length_from: Option<u64>) {
        if let Some(decay) = &mut self.decay {
            decay.length_to = decay.length_to.or(length_to);
            decay.length_from = decay.length_from.or(length_from);
        }
    }

    /// The link that parcel `number` must take, if it is there.
    pub fn link_for(&self, number: u64) -> Option<&RouterLink> {
        match &self.decay {
            Some(decay) if decay.length_to.is_none_or(|to| number < to) => Some(&decay.link),
            _ => self.primary.as_ref(),
        }
    }

    /// Gives up the decaying link once everything due has been sent over it and received from it.
    pub fn try_finish(&mut self, sent: u64, received: u64) -> Option<RouterLink> {
        let decay = self.decay.as_ref()?;
        let done = decay.length_to.is_some_and(|to| sent >= to) && decay.length_from.is_some_and(|from| received >= from);
        if done { self.decay.take().map(|decay| decay.link) } else { None }
    }

    /// Both links, taken.
    pub fn take_links(&mut self) -> impl Iterator<Item = RouterLink> + use<> {
        self.primary.take().into_iter().chain(self.decay.take().map(|decay| decay.link))
    }

    /// Both links.
    pub fn links_mut(&mut self) -> impl Iterator<Item = &mut RouterLink> {
        self.primary.iter_mut().chain(self.decay.iter_mut().map(|decay| &mut decay.link))
    }
}

#[cfg(test)]
mod tests {
    use super::super::link::{Kind, Sublink};
    use super::*;
    use crate::arena::Key;
    use crate::ids::{LinkKey, LinkSide, SublinkId};

    fn link(id: u64) -> RouterLink {
        RouterLink::peripheral(Sublink { link: LinkKey::new(0, 0), id: SublinkId(id) }, LinkSide::A, Kind::Outward)
    }

    fn id(link: Option<&RouterLink>) -> Option<u64> {
        link.and_then(RouterLink::at).map(|at| at.id.0)
    }

    #[test]
    fn each_number_has_one_link() {
        let mut edge = Edge { primary: Some(link(1)), decay: None };
        assert_eq!(id(edge.link_for(7)), Some(1));
        assert!(edge.begin_decay(None, None));
        assert_eq!(id(edge.link_for(u64::MAX)), Some(1), "as long as the length is unknown");
        edge.decay.as_mut().unwrap().length_to = Some(3);
        assert_eq!((id(edge.link_for(2)), id(edge.link_for(3))), (Some(1), None), "the next link is not there yet");
        edge.primary = Some(link(2));
        assert_eq!((id(edge.link_for(2)), id(edge.link_for(3))), (Some(1), Some(2)));
    }

    #[test]
    fn a_link_decays_once_at_a_time_and_needs_to_be_there() {
        let mut edge = Edge::default();
        assert!(!edge.begin_decay(Some(0), Some(0)) && edge.is_stable());
        edge.primary = Some(link(1));
        assert!(edge.begin_decay(Some(0), Some(0)));
        edge.primary = Some(link(2));
        assert!(!edge.begin_decay(Some(0), Some(0)));
        assert_eq!(id(edge.primary.as_ref()), Some(2));
    }

    #[test]
    fn decay_ends_when_both_lengths_are_known_and_reached() {
        let mut edge = Edge { primary: Some(link(1)), decay: None };
        assert!(edge.begin_decay(Some(3), None));
        assert!(edge.try_finish(9, 9).is_none(), "one length is unknown");
        edge.decay.as_mut().unwrap().length_from = Some(5);
        assert!(edge.try_finish(2, 5).is_none() && edge.try_finish(3, 4).is_none());
        assert_eq!(id(edge.try_finish(3, 5).as_ref()), Some(1));
        assert!(edge.is_empty());
    }
}
