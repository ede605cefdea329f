//! Boxes: what an application puts into them, and whether it finds it again.

use ipcz::ApplicationObject;
use ipcz::api::BoxContents;
use ipcz::ids::Handle;

use super::super::call::Found;
use super::Stage;
use crate::boxes::{Content, Seen, contents};
use crate::check::Checked;
use crate::choice::{Choices, Site};
use crate::ghost::{EndId, Role};

/// Whether a parcel has boxes, and how many; the actor is the process.
const BOXES: Site = Site::Workload(17);
/// How many boxes a parcel of the random workload has at most.
const SOME: u32 = 4;

impl Stage {
    /// How many boxes the next parcel has that is put into an end by the random workload.
    pub(super) fn some_boxes(&mut self, end: EndId) -> u8 {
        let Some((process, _)) = self.holder(end).filter(|_| self.ghost.pipe(end).role == Role::Random) else { return 0 };
        if !self.now_and_then(BOXES, process, self.style.boxes) {
            return 0;
        }
        1 + self.world.choose(|source| source.draw(BOXES, process, SOME)) as u8
    }

    /// What is in the boxes of the next parcel that is put into `end`, and the node that makes them.
    pub(super) fn make_boxes(&mut self, end: EndId, process: u32, boxes: u8) -> Option<(Handle, Vec<BoxContents>)> {
        let node = self.homes[process as usize].node.filter(|_| boxes > 0)?;
        let owner = self.world.application(process)?;
        let number = self.ghost.end(end).sent;
        let mut made = Vec::new();
        for content in contents(end.0, number, boxes) {
            made.push(match content {
                Content::Driver(value) => BoxContents::Driver(self.world.make_object(process, value)),
                Content::Application(object) => BoxContents::Application(ApplicationObject { object, owner: owner.clone() }),
            });
        }
        Some((node, made))
    }

    /// What was found in boxes, which is closed.
    pub(in crate::app) fn look_into(&mut self, process: u32, found: &[Found]) -> Vec<Seen> {
        let mut seen = Vec::with_capacity(found.len());
        for found in found {
            seen.push(match found {
                Found::Driver(object) => Seen::Driver(self.world.take_object(process, *object)),
                Found::Application(object) => {
                    self.world.take_application(process);
                    Seen::Application(*object)
                }
                Found::Subparcel(data, inside) => Seen::Subparcel(data.clone(), self.look_into(process, inside)),
            });
        }
        seen
    }

    /// What was found in the boxes of parcel `number` of what is put into the peer of `end`: it must be what was put there.
    pub(in crate::app) fn opened_boxes(&mut self, end: EndId, process: u32, (number, boxes): (u64, u8), found: &[Found]) -> Checked {
        let seen = self.look_into(process, found);
        let pipe = self.ghost.pipe(end);
        if pipe.tainted {
            return Ok(());
        }
        let opened = self.checks.delivery.opened((self.ghost.peer(end), end), (number, boxes), &seen, pipe.touched);
        opened.map_err(|violation| violation.in_process(process))
    }
}
