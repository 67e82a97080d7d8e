//! The devices that one model lives on.
//!
//! Answers to `llama_model::devices`, with the CPU among them. Which layer lives where is the model's business; what a
//! device is, is [`Device`]'s.

use crate::error::Error;
use crate::traits::{Backend, Device};

/// One of [`Devices`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeviceId {
    /// The model's own device.
    Own,
    /// One of the others, by number.
    Other(usize),
}

/// The device that computes whatever no other does, as a rule the CPU, and any number of others that take layers off it.
#[derive(Clone, Debug)]
pub struct Devices<'a> {
    own: &'a dyn Device,
    others: Vec<&'a dyn Device>,
}

impl<'a> Devices<'a> {
    /// `own`, and `others` in the order in which layers go to them.
    pub fn new(own: &'a dyn Device, others: impl IntoIterator<Item = &'a dyn Device>) -> Devices<'a> {
        Devices { own, others: others.into_iter().collect() }
    }

    /// The model's own device.
    pub fn own(&self) -> &'a dyn Device {
        self.own
    }

    /// The others, by number.
    pub fn others(&self) -> &[&'a dyn Device] {
        &self.others
    }

    /// The device of that name; the model's own in the place of one that is not there.
    pub fn get(&self, id: DeviceId) -> &'a dyn Device {
        match id {
            DeviceId::Own => self.own,
            DeviceId::Other(number) => self.others.get(number).copied().unwrap_or(self.own),
        }
    }

    /// Starts executing on all of them, in the order in which a scheduler prefers them: the own device last.
    ///
    /// # Errors
    /// As [`Device::backend`].
    pub fn backends(&self, n_threads: usize) -> Result<Vec<Box<dyn Backend>>, Error> {
        self.others.iter().chain([&self.own]).map(|device| device.backend(n_threads)).collect()
    }
}

impl<'a, 'd: 'a> From<&'a (dyn Device + 'd)> for Devices<'a> {
    fn from(own: &'a (dyn Device + 'd)) -> Devices<'a> {
        Devices { own, others: Vec::new() }
    }
}

impl<'a, D: Device> From<&'a D> for Devices<'a> {
    fn from(own: &'a D) -> Devices<'a> {
        Devices { own, others: Vec::new() }
    }
}
