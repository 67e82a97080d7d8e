//! Faults inside mapped files: another program cut the file off, or its disk failed.
//!
//! The system answers an access to a mapped page that is not there any more with SIGBUS, which ends the process. Here a
//! handler puts pages of zeros in their place, notes it, and the work goes on to the next question whether the mapping
//! is still the file ([`super::ByteSource::check_unchanged`]), where it becomes an error. On Linux; elsewhere the signal does
//! what it does.

#[cfg(target_os = "linux")]
pub(super) use linux::Watched;

/// Where faults are not caught, nothing is known about them.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
pub(super) struct Watched;

#[cfg(not(target_os = "linux"))]
impl Watched {
    pub(super) fn new(_bytes: &[u8]) -> Watched {
        Watched
    }

    pub(super) fn has_faulted(&self) -> bool {
        false
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::ffi::c_void;
    use std::ptr;
    use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering, fence};
    use std::sync::{Once, OnceLock};

    use crate::source::lock::page_size;

    /// The place of one mapping in the list that the handler walks. Places are used again and never given back.
    #[derive(Debug)]
    struct Place {
        is_taken: AtomicBool,
        /// Odd while the range below changes.
        version: AtomicUsize,
        start: AtomicUsize,
        end: AtomicUsize,
        has_faulted: AtomicBool,
        /// Set once, before the place is in the list.
        next: AtomicPtr<Place>,
    }

    /// The newest place. Places live forever, so the handler may follow the pointers at any time.
    static PLACES: AtomicPtr<Place> = AtomicPtr::new(ptr::null_mut());

    /// Whoever handled the signal before.
    static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

    /// A mapping whose faults are noted, until it is dropped. It must be dropped before the mapping is undone.
    #[derive(Debug)]
    pub(in crate::source) struct Watched(Option<&'static Place>);

    impl Watched {
        /// Watches the mapping that `bytes` is all of.
        pub(in crate::source) fn new(bytes: &[u8]) -> Watched {
            if bytes.is_empty() {
                return Watched(None);
            }
            install();
            let place = take();
            let start = bytes.as_ptr().expose_provenance();
            place.has_faulted.store(false, Ordering::Relaxed);
            place.set(start, start + bytes.len().next_multiple_of(page_size()));
            Watched(Some(place))
        }

        /// Whether a page of it was missing.
        pub(in crate::source) fn has_faulted(&self) -> bool {
            self.0.is_some_and(|place| place.has_faulted.load(Ordering::Acquire))
        }
    }

    impl Drop for Watched {
        fn drop(&mut self) {
            if let Some(place) = self.0 {
                place.set(0, 0);
                place.is_taken.store(false, Ordering::Release);
            }
        }
    }

    impl Place {
        /// Called by the one that took the place.
        fn set(&self, start: usize, end: usize) {
            let version = self.version.load(Ordering::Relaxed);
            self.version.store(version.wrapping_add(1), Ordering::Relaxed);
            fence(Ordering::Release);
            self.start.store(start, Ordering::Relaxed);
            self.end.store(end, Ordering::Relaxed);
            self.version.store(version.wrapping_add(2), Ordering::Release);
        }

        /// The end of its range, if `address` lies in it. A range that changes meanwhile is not the one that was
        /// faulted in: that one is borrowed by the thread that did.
        fn end_if_contains(&self, address: usize) -> Option<usize> {
            let version = self.version.load(Ordering::Acquire);
            let (start, end) = (self.start.load(Ordering::Relaxed), self.end.load(Ordering::Relaxed));
            fence(Ordering::Acquire);
            let is_whole = version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version;
            (is_whole && (start..end).contains(&address)).then_some(end)
        }
    }

    /// The places of the list. Only atomics are touched, so a signal handler may call it.
    fn places() -> impl Iterator<Item = &'static Place> {
        let mut at = PLACES.load(Ordering::Acquire);
        std::iter::from_fn(move || {
            // SAFETY: pointers in the list are null or come from `Box::leak` in `take`, which wrote them with release
            // ordering after the place was initialised; places are never freed and only ever shared.
            let place = unsafe { at.as_ref() }?;
            at = place.next.load(Ordering::Acquire);
            Some(place)
        })
    }

    /// A place that nobody else has.
    fn take() -> &'static Place {
        let free = |place: &Place| {
            place.is_taken.compare_exchange(false, true, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        if let Some(place) = places().find(|place| free(place)) {
            return place;
        }
        let place: &'static Place = Box::leak(Box::new(Place {
            is_taken: AtomicBool::new(true),
            version: AtomicUsize::new(0),
            start: AtomicUsize::new(0),
            end: AtomicUsize::new(0),
            has_faulted: AtomicBool::new(false),
            next: AtomicPtr::new(ptr::null_mut()),
        }));
        let mut head = PLACES.load(Ordering::Acquire);
        loop {
            place.next.store(head, Ordering::Relaxed);
            let new = ptr::from_ref(place).cast_mut();
            match PLACES.compare_exchange(head, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return place,
                Err(now) => head = now,
            }
        }
    }

    /// Installs the handler, once in a process and never where no file is mapped. Where that is refused, faults stay what
    /// they are.
    fn install() {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(|| {
            // SAFETY: the structures are plain data that all zeros are valid for and that live across the calls. The
            // handler has the signature that SA_SIGINFO asks for and does only what a handler may.
            unsafe {
                let mut before: libc::sigaction = std::mem::zeroed();
                if libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut before) != 0 {
                    return;
                }
                // Before the handler can run.
                let _ = BEFORE.set(before);
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = on_bus_error as *const () as libc::sighandler_t;
                action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
                libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut());
            }
        });
    }

    /// The handler: atomics, one mapping, and whoever was there before. It keeps `errno`.
    extern "C" fn on_bus_error(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
        // SAFETY: the system hands a valid description of the signal to a handler installed with SA_SIGINFO; the address
        // is meaningful for signals that the processor caused, which are those with a positive code. `errno` is this
        // thread's own.
        unsafe {
            let errno = libc::__errno_location();
            let kept = *errno;
            let is_fault = (*info).si_code > 0;
            let handled = is_fault && supply_zeros((*info).si_addr().addr());
            *errno = kept;
            if !handled {
                pass_on(signal, info, context);
            }
        }
    }

    /// Puts zeros under a fault at `address`, if it lies in a mapping that is watched. From the fault to the mapping's end:
    /// a file that was cut off lacks all of that, and otherwise the mapping is of no use any more either.
    fn supply_zeros(address: usize) -> bool {
        let Some((place, end)) = places().find_map(|place| Some((place, place.end_if_contains(address)?)))
        else {
            return false;
        };
        let start = address / page_size() * page_size();
        // SAFETY: the range lies in a mapping that is watched, hence owned by a `MappedFile` that lives at least as long as
        // the access that faulted. Its pages are read only and stay so; what is read there from now on is zeros, as if the
        // other program had written them. That the bytes of a mapped file may change was so before, see `MappedFile`.
        let mapped = unsafe {
            libc::mmap(
                ptr::with_exposed_provenance_mut(start),
                end - start,
                libc::PROT_READ,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        let done = mapped != libc::MAP_FAILED;
        place.has_faulted.fetch_or(done, Ordering::Release);
        done
    }

    /// Does what would have been done without this handler.
    ///
    /// # Safety
    /// To be called by the handler with its own arguments.
    unsafe fn pass_on(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
        let before = BEFORE.get();
        let handler = before.map_or(libc::SIG_DFL, |before| before.sa_sigaction);
        // SAFETY: what was installed before is called as it asked to be called. The default is put back and the signal
        // raised again, which ends the process when this handler returns.
        unsafe {
            match before {
                Some(before) if handler != libc::SIG_DFL && handler != libc::SIG_IGN => {
                    if before.sa_flags & libc::SA_SIGINFO != 0 {
                        let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut c_void) =
                            std::mem::transmute(handler);
                        handler(signal, info, context);
                    } else {
                        let handler: extern "C" fn(libc::c_int) = std::mem::transmute(handler);
                        handler(signal);
                    }
                }
                _ => {
                    let mut default: libc::sigaction = std::mem::zeroed();
                    default.sa_sigaction = libc::SIG_DFL;
                    libc::sigaction(signal, &raw const default, ptr::null_mut());
                    libc::raise(signal);
                }
            }
        }
    }
}
