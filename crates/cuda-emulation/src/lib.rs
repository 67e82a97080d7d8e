//! The CUDA kernels on the host: the same sources, compiled by the host's C++ compiler, with threads as fibers.
//!
//! For tests only. It proves a kernel's arithmetic, indices and barriers; not its timing, not races between
//! threads that hardware runs at once, and not the inline PTX of `common.cuh`, which has a twin here.

use std::ffi::c_void;
use std::fmt;

/// Why a kernel could not be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// There was no C++ compiler when this crate was built.
    NotBuilt,
    /// No kernel of this name.
    NoKernel(String),
    /// The kernel was written for another number of threads.
    BlockSize {
        /// The kernel.
        kernel: String,
        /// Threads asked for.
        block: u32,
    },
    /// No memory for the threads' stacks.
    OutOfMemory,
    /// Threads of a block waited for each other for ever.
    Deadlock(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotBuilt => write!(f, "built without a C++ compiler, so without the kernels"),
            Error::NoKernel(name) => write!(f, "no kernel named {name}"),
            Error::BlockSize { kernel, block } => write!(f, "{kernel} is not written for blocks of {block}"),
            Error::OutOfMemory => write!(f, "no memory for the threads' stacks"),
            Error::Deadlock(name) => write!(f, "threads of {name} wait for each other for ever"),
        }
    }
}

impl std::error::Error for Error {}

/// Whether kernels can be run: there was a C++ compiler at build time.
pub const fn is_available() -> bool {
    cfg!(emulated)
}

/// For tests that need the kernels: whether there are none, which is then printed.
///
/// # Panics
/// If there are none and the environment says `QUIPU_REQUIRE_CXX`: where tests count, none may pass without having run.
pub fn skipped() -> bool {
    if !is_available() {
        let required = std::env::var_os("QUIPU_REQUIRE_CXX").is_some_and(|value| value != "0");
        assert!(!required, "QUIPU_REQUIRE_CXX is set, but this was built without a C++ compiler");
        println!("skipped: built without a C++ compiler, so without the kernels' emulation");
    }
    !is_available()
}

#[cfg(emulated)]
unsafe extern "C" {
    fn quipu_emulate(
        name: *const u8,
        name_len: usize,
        grid: *const u32,
        block: u32,
        args: *mut *mut c_void,
        reversed: i32,
    ) -> i32;
}

/// Runs `kernel` on `grid` blocks of `block` threads; block after block, on the calling thread.
///
/// `args` are pointers to the argument values in order, exactly as `cuLaunchKernel` takes `kernelParams`;
/// addresses among them are of host memory.
///
/// # Errors
/// See [`Error`].
///
/// # Safety
/// There is an argument of the right kind for each of the kernel's parameters, and all memory it will touch is
/// there and not used by anybody else.
pub unsafe fn launch(kernel: &str, grid: [u32; 3], block: u32, args: &[*const c_void]) -> Result<(), Error> {
    // SAFETY: the caller's promises.
    unsafe { launch_in(Order::Forward, kernel, grid, block, args) }
}

/// In what order the threads of a block go on where they may. Results that depend on it are a race: a barrier is
/// missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// From the first thread to the last.
    Forward,
    /// From the last thread to the first.
    Reversed,
}

/// As [`launch`], in the order asked for.
///
/// # Errors
/// See [`Error`].
///
/// # Safety
/// As for [`launch`].
pub unsafe fn launch_in(
    order: Order,
    kernel: &str,
    grid: [u32; 3],
    block: u32,
    args: &[*const c_void],
) -> Result<(), Error> {
    #[cfg(emulated)]
    {
        let mut args: Vec<*mut c_void> = args.iter().map(|p| p.cast_mut()).collect();
        // SAFETY: the name and grid are valid for the call; the caller promises the rest.
        let code = unsafe {
            quipu_emulate(
                kernel.as_ptr(),
                kernel.len(),
                grid.as_ptr(),
                block,
                args.as_mut_ptr(),
                i32::from(order == Order::Reversed),
            )
        };
        match code {
            0 => Ok(()),
            1 => Err(Error::NoKernel(kernel.to_owned())),
            2 => Err(Error::BlockSize { kernel: kernel.to_owned(), block }),
            3 => Err(Error::OutOfMemory),
            _ => Err(Error::Deadlock(kernel.to_owned())),
        }
    }
    #[cfg(not(emulated))]
    {
        let _ = (order, kernel, grid, block, args);
        Err(Error::NotBuilt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_exist_is_refused() {
        // SAFETY: nothing is run.
        let outcome = unsafe { launch("no_such_kernel", [1, 1, 1], 256, &[]) };
        let expected =
            if is_available() { Error::NoKernel("no_such_kernel".to_owned()) } else { Error::NotBuilt };
        assert_eq!(outcome, Err(expected));
        if !skipped() {
            // SAFETY: nothing is run.
            let outcome = unsafe { launch("silu", [1, 1, 1], 100, &[]) };
            assert_eq!(outcome, Err(Error::BlockSize { kernel: "silu".to_owned(), block: 100 }));
        }
    }
}
