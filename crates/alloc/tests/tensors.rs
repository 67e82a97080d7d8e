//! The tensor allocator: buffers for tensors that stay.

mod common;

use common::Counted;
use quipu_alloc::{Address, AllocError, BufferSpec, TensorMemory, split_tensors};

const SPEC: BufferSpec = BufferSpec { id: 0, alignment: 8, max_size: 48 };
const SIZES: [Option<u64>; 6] = [Some(10), Some(20), None, Some(8), Some(100), Some(4)];

#[test]
fn tensors_share_buffers_up_to_the_limit() {
    let mut memory = Counted::new(u64::MAX);
    let tensors = TensorMemory::new(SPEC, 0, &SIZES, &mut memory).unwrap();
    let sizes: Vec<u64> = tensors.buffers().iter().map(|b| b.size).collect();
    assert_eq!(sizes, [48, 104, 8]);
    assert_eq!(tensors.layout(), &split_tensors(SPEC, &SIZES).unwrap());
    let (buffer, address) = tensors.tensor(4).unwrap();
    assert_eq!((buffer.size, address), (104, Address { chunk: 1, offset: 0 }));
    assert!(tensors.tensor(2).is_none() && tensors.tensor(9).is_none());
    assert_eq!(memory.live.get(), 160);
    drop(tensors);
    assert_eq!(memory.live.get(), 0);
}

#[test]
fn every_failure_says_what_and_keeps_nothing() {
    let mut memory = Counted::new(100);
    let error = TensorMemory::new(SPEC, 3, &SIZES, &mut memory).unwrap_err();
    assert!(matches!(error, AllocError::Backing { buffer: 3, chunk: 1, size: 104, .. }), "{error}");
    assert_eq!(memory.live.get(), 0);
    let huge = [Some(u64::MAX - 1)];
    let error = TensorMemory::new(SPEC, 0, &huge, &mut memory).unwrap_err();
    assert!(matches!(error, AllocError::SizeTooLarge { size, alignment: 8, .. } if size == u64::MAX - 1));
    let many = [Some(u64::MAX / 2 - 7); 3];
    let error = TensorMemory::new(SPEC, 0, &many, &mut memory).unwrap_err();
    assert!(matches!(error, AllocError::TotalTooLarge { .. }), "{error}");
    let odd = BufferSpec { alignment: 12, ..SPEC };
    let error = TensorMemory::new(odd, 0, &SIZES, &mut memory).unwrap_err();
    assert!(matches!(error, AllocError::BadAlignment { found: 12 }), "{error}");
}

#[test]
fn nothing_to_allocate_takes_no_buffer() {
    let mut memory = Counted::new(0);
    let tensors = TensorMemory::new(SPEC, 0, &[None, Some(0)], &mut memory).unwrap();
    assert!(tensors.buffers().is_empty() && tensors.tensor(1).is_none());
}
