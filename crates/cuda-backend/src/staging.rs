//! Pinned host memory between everybody's bytes and the device's.
//!
//! A ring of slots, each with an event that says when the device is done with it: while one slot's copy is under way the next
//! is filled. A write returns once its last piece is queued; everything on the device's stream comes after it.

use std::ptr::NonNull;

use crate::driver::{Driver, DriverError, Event, Stream};

/// Bytes of a slot: what a copy is cut into.
pub(crate) const SLOT_BYTES: usize = 1 << 20;
/// Slots of a device.
pub(crate) const N_SLOTS: usize = 4;

#[derive(Debug)]
struct Slot {
    memory: NonNull<u8>,
    event: Event,
    /// A copy was queued and not waited for.
    busy: bool,
}

/// The ring. Made with its device, and taken apart by it.
#[derive(Debug, Default)]
pub(crate) struct Staging {
    slots: Vec<Slot>,
    next: usize,
}

// SAFETY: slots are plain memory that only the ring's methods touch, which need `&mut`.
unsafe impl Send for Staging {}

impl Staging {
    /// Allocates the slots that are not there yet.
    pub fn new(driver: &dyn Driver) -> Result<Staging, DriverError> {
        let mut staging = Staging::default();
        for _ in 0..N_SLOTS {
            if let Err(error) = staging.grow(driver) {
                staging.release(driver);
                return Err(error);
            }
        }
        Ok(staging)
    }

    fn grow(&mut self, driver: &dyn Driver) -> Result<(), DriverError> {
        let event = driver.create_event()?;
        match driver.alloc_pinned(SLOT_BYTES) {
            Ok(memory) => {
                self.slots.push(Slot { memory, event, busy: false });
                Ok(())
            }
            Err(error) => {
                // SAFETY: made above, used by nobody. The allocation's error is the one to tell.
                let _ = unsafe { driver.destroy_event(event) };
                Err(error)
            }
        }
    }

    /// A slot that the device is done with.
    fn take(&mut self, driver: &dyn Driver) -> Result<&mut Slot, DriverError> {
        self.next = (self.next + 1) % self.slots.len();
        let slot = &mut self.slots[self.next];
        if slot.busy {
            driver.wait(slot.event)?;
            slot.busy = false;
        }
        Ok(slot)
    }

    /// Queues copying `bytes` to `to`.
    ///
    /// # Safety
    /// `to` has as many bytes inside one of the driver's allocations.
    pub unsafe fn write(
        &mut self,
        driver: &dyn Driver,
        stream: Stream,
        to: u64,
        bytes: &[u8],
    ) -> Result<(), DriverError> {
        let mut at = to;
        for chunk in bytes.chunks(SLOT_BYTES) {
            let slot = self.take(driver)?;
            slot.busy = true;
            // SAFETY: a chunk is at most a slot long, and nobody uses the slot: its last copy is done.
            unsafe { std::ptr::copy_nonoverlapping(chunk.as_ptr(), slot.memory.as_ptr(), chunk.len()) };
            // SAFETY: the target as the caller promises; the slot is not written before `take` waited for its event.
            unsafe { driver.copy_in(stream, at, slot.memory.as_ptr(), chunk.len()) }?;
            driver.record(slot.event, stream)?;
            at += chunk.len() as u64;
        }
        Ok(())
    }

    /// Copies bytes from `from` on, after everything queued before.
    ///
    /// # Safety
    /// `from` has as many bytes inside one of the driver's allocations.
    pub unsafe fn read(
        &mut self,
        driver: &dyn Driver,
        stream: Stream,
        from: u64,
        out: &mut [u8],
    ) -> Result<(), DriverError> {
        let mut at = from;
        for chunk in out.chunks_mut(SLOT_BYTES) {
            let slot = self.take(driver)?;
            slot.busy = true;
            // SAFETY: the source as the caller promises; nobody touches the slot until the event was waited for.
            unsafe { driver.copy_out(stream, slot.memory.as_ptr(), at, chunk.len()) }?;
            driver.record(slot.event, stream)?;
            driver.wait(slot.event)?;
            slot.busy = false;
            // SAFETY: the copy is done, and a chunk is at most a slot long.
            unsafe { std::ptr::copy_nonoverlapping(slot.memory.as_ptr(), chunk.as_mut_ptr(), chunk.len()) };
            at += chunk.len() as u64;
        }
        Ok(())
    }

    /// Frees everything. Nothing may be queued any more.
    pub fn release(&mut self, driver: &dyn Driver) {
        for slot in self.slots.drain(..) {
            // A driver that fails here has nothing left to give back.
            // SAFETY: made by this driver, freed once; the device is done, as the caller promises.
            let _ = unsafe { driver.free_pinned(slot.memory) };
            // SAFETY: as above.
            let _ = unsafe { driver.destroy_event(slot.event) };
        }
    }
}
