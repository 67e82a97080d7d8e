//! `quipu split`: one GGUF file into several.

use std::fmt::Write as _;
use std::io::Write;
use std::num::NonZeroU32;
use std::path::PathBuf;

use quipu::gguf::{SplitLimit, SplitOptions, SplitPlan};

use crate::fail::{Failure, named, writing};
use crate::output::note;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Tensors in each file (128 by default).
    #[arg(long, value_name = "N", conflicts_with = "max_size")]
    max_tensors: Option<NonZeroU32>,
    /// Megabytes or gigabytes of tensors in each file, as 500M or 2G.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_size: Option<u64>,
    /// Keep the first file for the metadata.
    #[arg(long)]
    no_tensor_first_split: bool,
    /// Only show how the file would be cut.
    #[arg(long)]
    dry_run: bool,
    /// The file.
    input: PathBuf,
    /// What the files' names begin with: PREFIX-00001-of-00003.gguf.
    prefix: PathBuf,
}

/// Bytes of `12M` or `3G`, in powers of ten as gguf-split counts.
fn size(text: &str) -> Result<u64, String> {
    let expected = || format!("\"{text}\": expected a whole number and M or G, as 500M");
    let (number, unit) = match (text.strip_suffix('M'), text.strip_suffix('G')) {
        (Some(number), _) => (number, 1_000_000),
        (_, Some(number)) => (number, 1_000_000_000),
        _ => return Err(expected()),
    };
    let n: u32 = number.parse().ok().filter(|&n| n > 0).ok_or_else(expected)?;
    Ok(u64::from(n) * unit)
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut options =
        SplitOptions { no_tensor_first_split: args.no_tensor_first_split, ..SplitOptions::default() };
    if let Some(n) = args.max_tensors {
        options.limit = SplitLimit::Tensors(n);
    }
    if let Some(n) = args.max_size {
        options.limit = SplitLimit::Bytes(n);
    }
    // A folder is no beginning of a name: the files would be called -00001-of-00003.gguf in it.
    let ends_in_name = args.prefix.file_name().is_some()
        && !args.prefix.as_os_str().as_encoded_bytes().ends_with(std::path::MAIN_SEPARATOR_STR.as_bytes());
    if !ends_in_name {
        return Err(Failure::Input(format!(
            "{}: expected the beginning of the files' names",
            args.prefix.display()
        )));
    }
    let plan = SplitPlan::new(&args.input, &options).map_err(named(&args.input))?;
    let mut lines = format!("n_split: {}\n", plan.n_splits());
    for (i, (n_tensors, n_bytes)) in plan.sizes().map_err(named(&args.input))?.into_iter().enumerate() {
        let megabytes = n_bytes / 1_000_000;
        let no = i + 1;
        let _ = writeln!(lines, "split {no:05}: n_tensors = {n_tensors}, total_size = {megabytes}M");
    }
    // Whoever reads this may be gone; the files are wanted all the same.
    let shown = std::io::stdout().write_all(lines.as_bytes());
    if !args.dry_run {
        plan.write(&args.prefix, |path| note(format_args!("writing {}", path.display())))
            .map_err(named(&args.input))?;
        note(format_args!("{} files written with {} tensors", plan.n_splits(), plan.n_tensors()));
    }
    shown.map_err(writing)
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_whole_numbers_of_m_or_g() {
        assert_eq!(size("500M"), Ok(500_000_000));
        assert_eq!(size("2G"), Ok(2_000_000_000));
        for text in ["", "M", "5", "0M", "-1G", "1.5G", "5K", "5m", "M5", "99999999999G"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
