//! Files that are written: under their names only when they are complete, and never over what is being read.
//!
//! One writer serves every output of the program. What is read is named in [`Inputs`]; [`NewFile`] refuses to become
//! one of them, writes beside its target under a name nobody else has, and takes the target's name at the end.

mod closed_stdout;
mod inputs;
mod new_file;
mod stale;
mod unfinished;

pub use closed_stdout::stdout_was_closed;
pub use inputs::Inputs;
pub use new_file::NewFile;
pub use unfinished::remove_unfinished;
pub(crate) use unfinished::try_remove_unfinished;
