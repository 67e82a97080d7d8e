//! A llama.cpp checkout that the user built: finding it, compiling probes against it, running them.

use std::path::{Path, PathBuf};
use std::process::Command;

use quipu_quant::DType;

use crate::error::Error;

/// Sources and libraries of one revision.
#[derive(Clone, Debug)]
pub struct Checkout {
    source: PathBuf,
    libraries: PathBuf,
    probes: PathBuf,
}

/// What the logits probe is asked for.
#[derive(Clone, Debug)]
pub struct LogitsRequest<'a> {
    /// The model file.
    pub model: &'a Path,
    /// The tokens.
    pub tokens: &'a [u32],
    /// Ubatch size.
    pub n_ubatch: usize,
    /// Name prefixes of tensors to copy.
    pub prefixes: &'a [&'a str],
    /// Fused attention, the reference's default.
    pub flash_attn: bool,
}

/// Adapters that the logits probe puts to work: their files and how strongly.
#[derive(Clone, Debug, Default)]
pub struct RefAdapters {
    /// LoRA adapters.
    pub loras: Vec<(PathBuf, f32)>,
    /// A control vector's file, strength, first and last layer.
    pub control_vector: Option<(PathBuf, f32, [usize; 2])>,
}

/// A tensor of the reference's graph.
#[derive(Clone, Debug, PartialEq)]
pub struct RefTensor {
    /// Its name.
    pub name: String,
    /// Its op, by the reference's name.
    pub op: String,
    /// The first of its operands that is a weight; empty if none is.
    pub weight: String,
    /// Its shape.
    pub ne: [usize; 4],
    /// Its values.
    pub values: Vec<f32>,
}

impl Checkout {
    /// Finds headers in `source` and shared libraries in `build`, or in `source/build*/bin`. Compiled probes
    /// go to `probes`.
    ///
    /// # Errors
    /// Headers or libraries are missing.
    pub fn locate(source: &Path, build: Option<&Path>, probes: &Path) -> Result<Checkout, Error> {
        if !source.join("include/llama.h").is_file() {
            return Err(Error::Checkout {
                path: source.to_owned(),
                found: "no include/llama.h".to_owned(),
                expected: "a llama.cpp checkout",
            });
        }
        let mut builds: Vec<PathBuf> = build.map(Path::to_owned).into_iter().collect();
        if builds.is_empty() {
            let entries = std::fs::read_dir(source).map_err(Error::io(source))?.flatten();
            builds.extend(
                entries.map(|e| e.path()).filter(|p| {
                    p.file_name().is_some_and(|name| name.to_string_lossy().starts_with("build"))
                }),
            );
        }
        let places = builds.iter().flat_map(|build| [build.join("bin"), build.clone()]);
        let libraries = places.into_iter().find(|dir| dir.join("libllama.so").is_file());
        let libraries = libraries.ok_or_else(|| Error::Checkout {
            path: source.to_owned(),
            found: "no libllama.so in a build folder".to_owned(),
            expected: "a build with shared libraries (-DBUILD_SHARED_LIBS=ON)",
        })?;
        std::fs::create_dir_all(probes).map_err(Error::io(probes))?;
        Ok(Checkout { source: source.to_owned(), libraries, probes: probes.to_owned() })
    }

    /// The revision, as far as the checkout knows it.
    pub fn revision(&self) -> String {
        let output = Command::new("git").arg("-C").arg(&self.source).args(["rev-parse", "HEAD"]).output();
        match output {
            Ok(output) if output.status.success() => {
                String::from_utf8_lossy(&output.stdout).trim().to_owned()
            }
            _ => "unknown (no git metadata)".to_owned(),
        }
    }

    /// The revision, or the one `REFERENCE.toml` names where the checkout has no git metadata.
    pub fn revision_or_recorded(&self) -> String {
        let revision = self.revision();
        if !revision.starts_with("unknown") {
            return revision;
        }
        let text = include_str!("../REFERENCE.toml");
        let line = text.lines().find_map(|line| line.strip_prefix("commit = "));
        line.map_or(revision, |commit| format!("{} (by REFERENCE.toml)", commit.trim_matches('"')))
    }

    /// The folder of the reference's own programs.
    pub fn programs(&self) -> &Path {
        &self.libraries
    }

    /// Compiles `parity/probes/NAME.cpp` unless a newer binary exists, and returns it.
    ///
    /// # Errors
    /// The compiler's message.
    pub fn probe(&self, name: &str) -> Result<PathBuf, Error> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("probes").join(format!("{name}.cpp"));
        let binary = self.probes.join(name);
        let modified = |path: &Path| path.metadata().and_then(|m| m.modified()).ok();
        let library = modified(&self.libraries.join("libllama.so"));
        let newest = modified(&source).max(library);
        if modified(&binary).is_some_and(|made| Some(made) > newest) {
            return Ok(binary);
        }
        let mut compiler = Command::new(std::env::var_os("CXX").unwrap_or_else(|| "c++".into()));
        compiler.args(["-std=c++20", "-O2", "-DNDEBUG", "-w", "-fpermissive", "-ffp-contract=off"]);
        for include in ["include", "ggml/include", "ggml/src", "src"] {
            compiler.arg("-I").arg(self.source.join(include));
        }
        compiler.arg(&source).arg("-o").arg(&binary).arg("-L").arg(&self.libraries);
        compiler.args(["-lllama", "-lggml", "-lggml-cpu", "-lggml-base"]);
        compiler.arg(format!("-Wl,-rpath,{}", self.libraries.display()));
        run(&mut compiler)?;
        Ok(binary)
    }

    /// Teacher-forced logits of the reference, and the tensors asked for.
    ///
    /// # Errors
    /// The probe failed or wrote something else than it should.
    pub fn logits(&self, request: &LogitsRequest<'_>) -> Result<(Vec<f32>, Vec<RefTensor>), Error> {
        self.logits_with(request, DType::F16)
    }

    /// As [`Checkout::logits`], with keys and values kept in a type.
    ///
    /// # Errors
    /// As [`Checkout::logits`].
    pub fn logits_with(
        &self,
        request: &LogitsRequest<'_>,
        cache_type: DType,
    ) -> Result<(Vec<f32>, Vec<RefTensor>), Error> {
        self.logits_adapted(request, cache_type, &RefAdapters::default())
    }

    /// As [`Checkout::logits_with`], with adapters at work.
    ///
    /// # Errors
    /// As [`Checkout::logits`].
    pub fn logits_adapted(
        &self,
        request: &LogitsRequest<'_>,
        cache_type: DType,
        adapters: &RefAdapters,
    ) -> Result<(Vec<f32>, Vec<RefTensor>), Error> {
        let dir = tempfile::tempdir().map_err(Error::io("temporary folder"))?;
        let (ids, out) = (dir.path().join("ids"), dir.path().join("out"));
        let words: Vec<String> = request.tokens.iter().map(u32::to_string).collect();
        std::fs::write(&ids, words.join(" ")).map_err(Error::io(&ids))?;
        let mut probe = Command::new(self.probe("logits")?);
        probe.arg(request.model).arg(&ids).arg(&out).args(["--ubatch", &request.n_ubatch.to_string()]);
        probe.args(["--cache-type", &cache_type.id().to_string()]);
        if !request.flash_attn {
            probe.arg("--no-flash-attn");
        }
        for (path, scale) in &adapters.loras {
            probe.arg("--lora").arg(path).arg("--scale").arg(scale.to_string());
        }
        if let Some((path, strength, [first, last])) = &adapters.control_vector {
            probe.arg("--control-vector").arg(path).arg("--strength").arg(strength.to_string());
            probe.arg("--first").arg(first.to_string()).arg("--last").arg(last.to_string());
        }
        if !request.prefixes.is_empty() {
            probe.args(["--tensors", &request.prefixes.join(",")]);
        }
        run(&mut probe)?;
        let logits = floats(&std::fs::read(&out).map_err(Error::io(&out))?);
        if request.prefixes.is_empty() {
            return Ok((logits, Vec::new()));
        }
        let path = dir.path().join("out.tensors");
        let bytes = std::fs::read(&path).map_err(Error::io(&path))?;
        let tensors = parse_tensors(&bytes).ok_or_else(|| Error::Program {
            program: "logits probe".to_owned(),
            message: "tensors cut short".to_owned(),
        })?;
        Ok((logits, tensors))
    }
}

/// Runs a program to its end and returns what it printed.
///
/// # Errors
/// It could not be started, or failed: then its last lines on stderr.
pub fn run(command: &mut Command) -> Result<String, Error> {
    let program = command.get_program().to_string_lossy().into_owned();
    let fail = |message: String| Error::Program { program: program.clone(), message };
    let output = command.output().map_err(|error| fail(error.to_string()))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let tail: Vec<&str> = stderr.lines().rev().take(5).collect();
    let tail: Vec<&str> = tail.into_iter().rev().collect();
    Err(fail(format!("{}: {}", output.status, tail.join(" | "))))
}

/// Little-endian f32 values.
pub(crate) fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
}

fn parse_tensors(mut bytes: &[u8]) -> Option<Vec<RefTensor>> {
    let mut tensors = Vec::new();
    while !bytes.is_empty() {
        let mut text = || {
            let (len, rest) = bytes.split_first_chunk::<4>()?;
            let (text, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
            bytes = rest;
            Some(String::from_utf8_lossy(text).into_owned())
        };
        let (name, op, weight) = (text()?, text()?, text()?);
        let (shape, rest) = bytes.split_first_chunk::<32>()?;
        let mut ne = [0; 4];
        for (ne, bytes) in ne.iter_mut().zip(shape.as_chunks::<8>().0) {
            *ne = usize::try_from(u64::from_le_bytes(*bytes)).ok()?;
        }
        let n_bytes = ne.iter().try_fold(4usize, |n, ne| n.checked_mul(*ne))?;
        let (data, rest) = rest.split_at_checked(n_bytes)?;
        tensors.push(RefTensor { name, op, weight, ne, values: floats(data) });
        bytes = rest;
    }
    Some(tensors)
}
