//! Questions that the core puts to drivers, asked without the lock.

use super::process::Process;
use crate::driver::{Driver, DriverError};
use crate::ids::ObjectId;
use crate::mapping::Mapping;
use crate::memory::{LinkMemory, PRIMARY_BYTES, initialise_primary};
use crate::node::{Answer, Ask, Introduced};

impl Process {
    /// The driver's answer. What was made on the way to a failure is closed.
    pub(super) fn ask(&self, ask: Ask) -> Answer {
        match ask {
            Ask::Memory { driver, bytes, block_size } => {
                let driver = self.driver(driver);
                let made = allocate(&*driver, bytes);
                if let Ok((_, mapping)) = &made {
                    LinkMemory::initialise_region(mapping, block_size);
                }
                Answer::Memory(made)
            }
            Ask::Introduction { driver, toward } => Answer::Introduction(introduce(&*self.driver(driver), toward)),
        }
    }
}

fn allocate(driver: &dyn Driver, bytes: usize) -> Result<(ObjectId, Mapping), DriverError> {
    let memory = driver.allocate(bytes)?;
    match driver.map(memory) {
        Ok(mapping) if mapping.len() >= bytes => Ok((memory, mapping)),
        other => {
            driver.close(memory);
            Err(other.err().unwrap_or(DriverError::ResourceExhausted))
        }
    }
}

/// Transports and an initialised primary buffer for two nodes (nodes.md 7.3).
fn introduce(driver: &dyn Driver, toward: [ObjectId; 2]) -> Result<Introduced, DriverError> {
    let (second, mapping) = allocate(driver, PRIMARY_BYTES)?;
    initialise_primary(&mapping);
    drop(mapping);
    let first = driver.duplicate(second).inspect_err(|_| driver.close(second))?;
    match driver.create_transports(Some(toward)) {
        Ok(transports) => Ok(Introduced { transports, memory: [first, second] }),
        Err(error) => {
            driver.close(first);
            driver.close(second);
            Err(error)
        }
    }
}
