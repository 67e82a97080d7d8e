//! Memory that has a size and nothing else: what loading and caching would take, without taking it.

use std::any::Any;
use std::sync::Arc;

use quipu_backend::{Buffer, BufferType, Error, WeightSpec};
use quipu_graph::DType;

/// A buffer type like another one whose buffers hold no bytes (`no_alloc`).
#[derive(Debug)]
pub struct SizeOnly(pub Arc<dyn BufferType>);

impl BufferType for SizeOnly {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn alignment(&self) -> usize {
        self.0.alignment()
    }

    fn max_size(&self) -> usize {
        self.0.max_size()
    }

    fn alloc_size(&self, dtype: DType, ne: [usize; 4]) -> Option<usize> {
        self.0.alloc_size(dtype, ne)
    }

    fn accepts_weight(&self, weight: &WeightSpec) -> bool {
        self.0.accepts_weight(weight)
    }

    fn is_host(&self) -> bool {
        false
    }

    fn allocate(&self, size: usize) -> Result<Box<dyn Buffer>, Error> {
        Ok(Box::new(NoBytes { size, type_name: self.0.name().to_owned() }))
    }
}

#[derive(Debug)]
struct NoBytes {
    size: usize,
    type_name: String,
}

impl NoBytes {
    fn refuse(&self) -> Error {
        Error::Tensor {
            name: format!("buffer {}", self.type_name),
            found: "memory that was only measured".to_owned(),
            expected: "allocated memory",
        }
    }
}

impl Buffer for NoBytes {
    fn size(&self) -> usize {
        self.size
    }

    fn type_name(&self) -> &str {
        &self.type_name
    }

    fn read(&self, _offset: usize, _out: &mut [u8]) -> Result<(), Error> {
        Err(self.refuse())
    }

    fn write(&mut self, _offset: usize, _data: &[u8]) -> Result<(), Error> {
        Err(self.refuse())
    }

    fn write_weight(&mut self, _: usize, _: DType, _: [usize; 4], _: &[u8]) -> Result<(), Error> {
        Err(self.refuse())
    }

    fn clear(&mut self) {}

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }
}
