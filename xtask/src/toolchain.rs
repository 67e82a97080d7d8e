//! Cargo of another toolchain than the one that runs this.

use std::process::Command;

/// `cargo` of `toolchain`, through rustup.
pub(crate) fn cargo_of(toolchain: &str) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", toolchain, "cargo"]);
    // Of the cargo that runs this: they would lead back to its toolchain.
    for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
        command.env_remove(name);
    }
    command
}
