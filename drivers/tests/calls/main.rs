//! What the calls promise an application, behaviour by behaviour (api.md 17; the number is in each test's name), over the synchronous
//! driver. What concerns null pointers and the loading of the C API is tested where those are.

mod boxes;
mod gets;
mod parcels;
mod puts;
mod traps;
mod two_phase_gets;
mod two_phase_puts;
mod world;
