//! Host memory for tests.

use std::any::Any;

use quipu_backend::{Buffer, BufferType, Error, WeightSpec};
use quipu_graph::DType;

#[derive(Debug)]
pub struct TestMemory;

#[derive(Debug)]
struct Bytes(Vec<u8>);

impl BufferType for TestMemory {
    fn name(&self) -> &'static str {
        "TEST"
    }

    fn alignment(&self) -> usize {
        64
    }

    fn accepts_weight(&self, _weight: &WeightSpec) -> bool {
        true
    }

    fn is_host(&self) -> bool {
        true
    }

    fn allocate(&self, size: usize) -> Result<Box<dyn Buffer>, Error> {
        Ok(Box::new(Bytes(vec![0; size])))
    }
}

impl Buffer for Bytes {
    fn size(&self) -> usize {
        self.0.len()
    }

    fn type_name(&self) -> &'static str {
        "TEST"
    }

    fn read(&self, offset: usize, out: &mut [u8]) -> Result<(), Error> {
        out.copy_from_slice(&self.0[offset..][..out.len()]);
        Ok(())
    }

    fn write(&mut self, offset: usize, data: &[u8]) -> Result<(), Error> {
        self.0[offset..][..data.len()].copy_from_slice(data);
        Ok(())
    }

    fn write_weight(&mut self, offset: usize, _: DType, _: [usize; 4], data: &[u8]) -> Result<(), Error> {
        self.write(offset, data)
    }

    fn clear(&mut self) {
        self.0.fill(0);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
