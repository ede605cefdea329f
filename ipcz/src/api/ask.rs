//! Questions that the core puts to drivers, asked without the lock.

use super::process::Process;
use crate::driver::{Driver, DriverError};
use crate::ids::ObjectId;
use crate::mapping::Mapping;
use crate::memory::{LinkMemory, PRIMARY_BYTES, initialise_primary};
use crate::node::{Answer, Ask, Introduced, Means};

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
            Ask::Grant { driver, bytes } => Answer::Grant(self.driver(driver).allocate(bytes)),
            Ask::Introduction { driver, toward } => Answer::Introduction(introduce(&*self.driver(driver), toward)),
            Ask::Referral { driver } => Answer::Referral(self.means(&*self.driver(driver))),
            Ask::Pair { driver, toward } => Answer::Pair(self.driver(driver).create_transports(toward)),
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

impl Process {
    /// A name and two initialised primary buffers for a node that is referred to a broker (nodes.md 5.4).
    fn means(&self, driver: &dyn Driver) -> Result<Means, DriverError> {
        let memory = primary(driver)?;
        let made = shared_primary(driver).and_then(|shared| match self.draw_name(driver) {
            Some(name) => Ok((name, shared)),
            None => {
                shared.into_iter().for_each(|object| driver.close(object));
                Err(DriverError::Unknown)
            }
        });
        match made {
            Ok((name, shared)) => Ok(Means { name, memory, shared }),
            Err(error) => {
                driver.close(memory.0);
                Err(error)
            }
        }
    }
}

/// An initialised primary buffer.
pub(super) fn primary(driver: &dyn Driver) -> Result<(ObjectId, Mapping), DriverError> {
    let made = allocate(driver, PRIMARY_BYTES)?;
    initialise_primary(&made.1);
    Ok(made)
}

/// An initialised primary buffer for two others.
fn shared_primary(driver: &dyn Driver) -> Result<[ObjectId; 2], DriverError> {
    let (second, _) = primary(driver)?;
    let first = driver.duplicate(second).inspect_err(|_| driver.close(second))?;
    Ok([first, second])
}

/// Transports and an initialised primary buffer for two nodes (nodes.md 7.3).
fn introduce(driver: &dyn Driver, toward: [ObjectId; 2]) -> Result<Introduced, DriverError> {
    let memory = shared_primary(driver)?;
    match driver.create_transports(Some(toward)) {
        Ok(transports) => Ok(Introduced { transports, memory }),
        Err(error) => {
            memory.into_iter().for_each(|object| driver.close(object));
            Err(error)
        }
    }
}
