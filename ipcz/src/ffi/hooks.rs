//! What tests written for the original ask of its inside (feature `test-hooks`): each answers 1 or 0.

use std::ffi::c_int;

use super::abi::IpczHandle;
use super::{handle, process};
use crate::core::Core;
use crate::routing::Router;

fn ask(look: impl FnOnce(&Core) -> Option<bool>) -> c_int {
    process().look(look).ok().flatten().unwrap_or(false).into()
}

fn terminal(core: &Core, portal: IpczHandle) -> Option<&Router> {
    let router = core.routing.routers.get(core.portal(handle(portal).ok()?).ok()?)?;
    (router.is_terminal() && router.out.is_stable()).then_some(router)
}

/// Whether a portal's route is one central link to another node.
#[unsafe(no_mangle)]
pub extern "C" fn IpczTestIsOnCentralRemoteLink(portal: IpczHandle) -> c_int {
    ask(|core| {
        let link = terminal(core, portal)?.out.primary.as_ref()?;
        Some(link.is_central() && link.at().is_some())
    })
}

/// Whether a portal is linked straight to another one of this process.
#[unsafe(no_mangle)]
pub extern "C" fn IpczTestHasLocalPeer(portal: IpczHandle, peer: IpczHandle) -> c_int {
    ask(|core| {
        let link = terminal(core, portal)?.out.primary.as_ref()?;
        Some(link.local_peer(&core.routing.pairs)? == core.portal(handle(peer).ok()?).ok()?)
    })
}
