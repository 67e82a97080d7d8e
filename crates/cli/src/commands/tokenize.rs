//! `quipu tokenize`: text to ids.

use std::io::{BufWriter, Write};
use std::path::PathBuf;

use crate::fail::{Failure, writing};
use crate::input::{read_bytes, read_stdin};
use crate::options::ModelArgs;
use crate::sampling::unescape;

#[derive(Debug, clap::Args)]
#[allow(clippy::struct_excessive_bools)] // switches of a command line
pub(crate) struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// The text, in which \n, \t and the like are what they mean; without -p and -f, stdin is read.
    #[arg(short = 'p', long, overrides_with = "file")]
    prompt: Option<String>,
    /// Take backslashes in -p as they are.
    #[arg(long)]
    no_escape: bool,
    /// Read the text from a file; bytes that are not UTF-8 become U+FFFD as in llama.cpp.
    #[arg(short = 'f', long)]
    file: Option<PathBuf>,
    /// The file holds several texts, separated by NUL bytes.
    #[arg(long, requires = "file")]
    nul: bool,
    /// Do not add beginning- and end-of-sequence tokens.
    #[arg(long)]
    no_special: bool,
    /// Read the text of control tokens as those tokens.
    #[arg(long)]
    parse_special: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let tokenizer = args.model.tokenizer()?;
    let bytes = match (&args.prompt, &args.file) {
        (Some(text), _) if args.no_escape => text.clone().into_bytes(),
        (Some(text), _) => unescape(text).into_bytes(),
        (None, Some(path)) => read_bytes(path)?,
        (None, None) => read_stdin()?.into_bytes(),
    };
    let mut out = BufWriter::new(std::io::stdout().lock());
    let texts: Box<dyn Iterator<Item = &[u8]>> = if args.nul {
        // A final separator ends the last text, it does not start another.
        let body = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
        Box::new(body.split(|b| *b == 0))
    } else {
        Box::new(std::iter::once(bytes.as_slice()))
    };
    for text in texts {
        let ids = tokenizer.encode_bytes(text, !args.no_special, args.parse_special)?;
        let words: Vec<String> = ids.iter().map(u32::to_string).collect();
        writeln!(out, "{}", words.join(" ")).map_err(writing)?;
    }
    out.flush().map_err(writing)
}
