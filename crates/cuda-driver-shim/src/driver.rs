//! Opens libcuda, fills the table, and defines the functions that jump through it.

use std::arch::naked_asm;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};

use crate::names::for_each_name;

/// Where the driver may be: where the loader finds it, in containers, and under WSL. Not `libcuda.so`: a toolkit's stub of
/// that name might answer.
const PLACES: [&str; 3] =
    ["libcuda.so.1", "/usr/local/nvidia/lib64/libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1"];

/// `CUDA_ERROR_NOT_INITIALIZED`.
const NOT_INITIALIZED: u32 = 3;
/// `CUDA_ERROR_NO_DEVICE`.
const NO_DEVICE: u32 = 100;
/// `CUDA_ERROR_NOT_FOUND`.
const NOT_FOUND: u32 = 500;

const RTLD_NOW: c_int = 2;

unsafe extern "C" {
    fn dlopen(file: *const c_char, mode: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    fn dlerror() -> *mut c_char;
}

extern "C" fn not_initialized() -> u32 {
    NOT_INITIALIZED
}

extern "C" fn not_found() -> u32 {
    NOT_FOUND
}

macro_rules! define_names {
    ($($index:literal $name:ident,)*) => {
        /// Names in the order of the table.
        const NAMES: &[&str] = &[$(stringify!($name)),*];

        $(
            /// Jumps to the function of this name, whatever its arguments: they stay where the caller put them.
            ///
            /// # Safety
            /// As the driver's documentation says of it.
            #[unsafe(naked)]
            #[unsafe(no_mangle)]
            #[allow(non_snake_case)]
            unsafe extern "C" fn $name() -> u32 {
                #[cfg(target_arch = "x86_64")]
                naked_asm!(
                    // Not for others to find: a library that looks its own libcuda up must not meet this.
                    concat!(".hidden ", stringify!($name)),
                    "jmp qword ptr [rip + {table} + 8 * {index}]",
                    table = sym TABLE,
                    index = const $index,
                );
                #[cfg(target_arch = "aarch64")]
                naked_asm!(
                    concat!(".hidden ", stringify!($name)),
                    "adrp x16, {table}",
                    "add x16, x16, :lo12:{table}",
                    "ldr x16, [x16, 8 * {index}]",
                    "br x16",
                    table = sym TABLE,
                    index = const $index,
                );
            }
        )*
    };
}

for_each_name!(define_names);

/// Where each name leads.
static TABLE: [AtomicPtr<()>; NAMES.len()] =
    [const { AtomicPtr::new((not_initialized as *const ()).cast_mut()) }; NAMES.len()];

/// The opened library.
struct Library {
    handle: AtomicPtr<c_void>,
    missing: Vec<&'static str>,
}

static LIBRARY: OnceLock<Result<Library, String>> = OnceLock::new();

impl Library {
    fn open() -> Result<Library, String> {
        let mut errors = Vec::new();
        for place in PLACES {
            let name = CString::new(place).expect("no zeros inside");
            // SAFETY: a terminated string. The driver's constructors run, as they would had it been linked.
            let handle = unsafe { dlopen(name.as_ptr(), RTLD_NOW) };
            if !handle.is_null() {
                return Ok(Library::fill_table(handle));
            }
            // SAFETY: dlerror gives null or a terminated string that lives until this thread's next call.
            let message = unsafe { dlerror() };
            if !message.is_null() {
                // SAFETY: as above; copied at once.
                errors.push(unsafe { CStr::from_ptr(message) }.to_string_lossy().into_owned());
            }
        }
        // The first place is the one that people can do something about.
        Err(errors.into_iter().next().unwrap_or_else(|| "libcuda.so.1: cannot be opened".to_owned()))
    }

    fn fill_table(handle: *mut c_void) -> Library {
        let mut missing = Vec::new();
        for (slot, name) in TABLE.iter().zip(NAMES) {
            let symbol = CString::new(*name).expect("no zeros inside");
            // SAFETY: the handle is of an open library that is never closed; the name is terminated.
            let mut address = unsafe { dlsym(handle, symbol.as_ptr()) }.cast::<()>();
            if address.is_null() {
                missing.push(*name);
                address = (not_found as *const ()).cast_mut();
            }
            slot.store(address, Ordering::Release);
        }
        Library { handle: AtomicPtr::new(handle), missing }
    }

    fn symbol(&self, name: &CStr) -> Option<NonNull<c_void>> {
        // SAFETY: the library is open and never closed; the name is terminated.
        NonNull::new(unsafe { dlsym(self.handle.load(Ordering::Relaxed), name.as_ptr()) })
    }
}

fn library() -> &'static Result<Library, String> {
    LIBRARY.get_or_init(Library::open)
}

/// Opens the driver if that was not tried yet; why there is none, in the system's words (`libcuda.so.1: cannot open ...`).
pub fn load_error() -> Option<&'static str> {
    library().as_ref().err().map(String::as_str)
}

/// Functions of cust's bindings that the opened driver lacks; they answer `CUDA_ERROR_NOT_FOUND`. Empty without a driver.
pub fn missing() -> &'static [&'static str] {
    library().as_ref().map_or(&[], |library| &library.missing)
}

/// The address of any of the driver's functions, for those that cust's bindings do not know; `None` if there is no driver or
/// it lacks the function.
pub fn symbol(name: &CStr) -> Option<NonNull<c_void>> {
    library().as_ref().ok()?.symbol(name)
}

/// The driver's function of that name as a function pointer of type `F`.
///
/// # Safety
/// `F` is the type of a function pointer with the function's signature.
unsafe fn function<F: Copy>(name: &CStr) -> Option<F> {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
    let address = symbol(name)?.as_ptr();
    // SAFETY: of the same size, and of the right type as the caller promises.
    Some(unsafe { std::mem::transmute_copy::<*mut c_void, F>(&address) })
}

/// Opens the driver and starts it; `CUDA_ERROR_NO_DEVICE` if there is none.
///
/// # Safety
/// None beyond the driver's own.
#[unsafe(no_mangle)]
#[allow(non_snake_case)]
unsafe extern "C" fn cuInit(flags: u32) -> u32 {
    if library().is_err() {
        return NO_DEVICE;
    }
    // SAFETY: `CUresult cuInit(unsigned int)`.
    match unsafe { function::<unsafe extern "C" fn(u32) -> u32>(c"cuInit") } {
        // SAFETY: the caller's arguments.
        Some(init) => unsafe { init(flags) },
        None => NOT_FOUND,
    }
}

/// The driver's version; 0 without one, as the documentation has it.
///
/// # Safety
/// `version` may be written.
#[unsafe(no_mangle)]
#[allow(non_snake_case)]
unsafe extern "C" fn cuDriverGetVersion(version: *mut c_int) -> u32 {
    // SAFETY: `CUresult cuDriverGetVersion(int *)`.
    let get = unsafe { function::<unsafe extern "C" fn(*mut c_int) -> u32>(c"cuDriverGetVersion") };
    if let Some(get) = get {
        // SAFETY: the caller's argument.
        return unsafe { get(version) };
    }
    // SAFETY: the caller says that it may be written.
    unsafe { version.write(0) };
    0
}

type Describe = unsafe extern "C" fn(u32, *mut *const c_char) -> u32;

/// Name and words for an error without a driver to ask: those that the shim itself answers with.
fn own_words(code: u32) -> (&'static CStr, &'static CStr) {
    match code {
        0 => (c"CUDA_SUCCESS", c"no error"),
        NOT_INITIALIZED => (c"CUDA_ERROR_NOT_INITIALIZED", c"initialization error"),
        NO_DEVICE => (c"CUDA_ERROR_NO_DEVICE", c"no CUDA-capable device is detected"),
        NOT_FOUND => (c"CUDA_ERROR_NOT_FOUND", c"named symbol not found"),
        _ => (c"CUDA_ERROR_UNKNOWN", c"unknown error"),
    }
}

/// What an error means, in words. Works without a driver: cust panics if it does not.
///
/// # Safety
/// `text` may be written.
#[unsafe(no_mangle)]
#[allow(non_snake_case)]
unsafe extern "C" fn cuGetErrorString(code: u32, text: *mut *const c_char) -> u32 {
    // SAFETY: `CUresult cuGetErrorString(CUresult, const char **)`.
    let describe = unsafe { function::<Describe>(c"cuGetErrorString") };
    if let Some(describe) = describe {
        // SAFETY: the caller's arguments.
        return unsafe { describe(code, text) };
    }
    // SAFETY: the caller says that it may be written.
    unsafe { text.write(own_words(code).1.as_ptr()) };
    0
}

/// An error's name.
///
/// # Safety
/// `text` may be written.
#[unsafe(no_mangle)]
#[allow(non_snake_case)]
unsafe extern "C" fn cuGetErrorName(code: u32, text: *mut *const c_char) -> u32 {
    // SAFETY: `CUresult cuGetErrorName(CUresult, const char **)`.
    let describe = unsafe { function::<Describe>(c"cuGetErrorName") };
    if let Some(describe) = describe {
        // SAFETY: the caller's arguments.
        return unsafe { describe(code, text) };
    }
    // SAFETY: the caller says that it may be written.
    unsafe { text.write(own_words(code).0.as_ptr()) };
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_sorted() {
        assert!(NAMES.is_sorted_by(|a, b| a < b));
        assert_eq!(NAMES.len(), 349);
    }

    #[test]
    fn every_function_of_the_bindings_is_defined() {
        let home = std::env::var_os("CARGO_HOME").map(std::path::PathBuf::from);
        let home = home.or_else(|| Some(std::path::PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
        let sources = home.and_then(|home| std::fs::read_dir(home.join("registry/src")).ok());
        let bindings =
            sources.into_iter().flatten().flatten().find_map(|index| {
                std::fs::read_to_string(index.path().join("cust_raw-0.11.3/src/cuda.rs")).ok()
            });
        let Some(bindings) = bindings else {
            println!("skipped: the source of cust_raw 0.11.3 is not at hand");
            return;
        };
        let own = ["cuInit", "cuDriverGetVersion", "cuGetErrorString", "cuGetErrorName"];
        let declared = bindings.split("pub fn ").skip(1).filter_map(|rest| rest.split('(').next());
        let mut declared: Vec<&str> = declared.filter(|name| name.starts_with("cu")).collect();
        declared.retain(|name| !own.contains(name));
        declared.sort_unstable();
        declared.dedup();
        assert_eq!(declared, NAMES);
    }

    #[test]
    fn functions_answer_without_a_driver_too() {
        // SAFETY: no arguments are looked at before the driver is opened, and cuInit takes any flags.
        let code = unsafe { cuInit(0) };
        let mut text = std::ptr::null();
        // SAFETY: `text` may be written.
        assert_eq!(unsafe { cuGetErrorName(code, &raw mut text) }, 0);
        // SAFETY: the call above left a terminated string.
        let name = unsafe { CStr::from_ptr(text) }.to_string_lossy();
        match load_error() {
            Some(error) => {
                assert_eq!((code, name.as_ref()), (NO_DEVICE, "CUDA_ERROR_NO_DEVICE"), "{error}");
                let mut version = -1;
                // SAFETY: `version` may be written.
                assert_eq!(unsafe { cuDriverGetVersion(&raw mut version) }, 0);
                assert_eq!(version, 0);
                // SAFETY: without a driver the arguments are not looked at.
                assert_eq!(unsafe { cuCtxSynchronize() }, NOT_INITIALIZED);
                assert!(symbol(c"cuMemAlloc_v2").is_none());
            }
            None => println!("there is a driver here: cuInit says {code} ({name})"),
        }
    }

    #[test]
    fn many_threads_open_the_driver_once() {
        let codes: Vec<u32> = std::thread::scope(|scope| {
            // SAFETY: cuInit may be called from any thread.
            let threads: Vec<_> = (0..16).map(|_| scope.spawn(|| unsafe { cuInit(0) })).collect();
            threads.into_iter().map(|thread| thread.join().expect("does not panic")).collect()
        });
        assert!(codes.windows(2).all(|pair| pair[0] == pair[1]), "{codes:?}");
    }
}
