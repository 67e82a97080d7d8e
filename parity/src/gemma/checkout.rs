//! gemma.cpp's sources that the user has: finding them, compiling probes against them, running them.
//!
//! Nothing of it needs to be built before: its files, highway's and sentencepiece's are compiled here, each once, for
//! one instruction set. On x86 that is AVX2, whatever the machine has: with AVX-512 two of gemma.cpp's paths are not
//! what they should be (docs/gemma.md).

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::checkout::{floats, run};
use crate::error::Error;

/// gemma.cpp's files but for its programs.
const GEMMA: [&str; 29] = [
    "io/blob_store",
    "io/fields",
    "io/io",
    "util/allocator",
    "util/basics",
    "util/threading_context",
    "util/threading",
    "util/topology",
    "util/zones",
    "util/mat",
    "gemma/configs",
    "gemma/tensor_info",
    "gemma/model_store",
    "gemma/tokenizer",
    "compression/compress",
    "compression/python/compression_clif_aux",
    "gemma/weights",
    "gemma/kv_cache",
    "gemma/vit",
    "paligemma/image",
    "ops/matmul",
    "ops/matmul_static_bf16",
    "ops/matmul_static_f32",
    "ops/matmul_static_i8",
    "ops/matmul_static_nuq",
    "ops/matmul_static_sfp",
    "gemma/attention",
    "gemma/flash_attention",
    "gemma/gemma",
];

/// highway's that those need.
const HIGHWAY: [&str; 12] = [
    "abort",
    "aligned_allocator",
    "nanobenchmark",
    "per_target",
    "perf_counters",
    "print",
    "profiler",
    "stats",
    "targets",
    "timer",
    "contrib/thread_pool/thread_pool",
    "contrib/thread_pool/topology",
];

/// sentencepiece's that read and apply a model.
const SENTENCEPIECE: [&str; 13] = [
    "bpe_model",
    "char_model",
    "error",
    "filesystem",
    "model_factory",
    "model_interface",
    "normalizer",
    "sentencepiece_processor",
    "unigram_model",
    "util",
    "word_model",
    "builtin_pb/sentencepiece.pb",
    "builtin_pb/sentencepiece_model.pb",
];

/// What its build would have configured.
const CONFIG_H: &str = "#define VERSION \"0.2.1\"\n#define PACKAGE \"sentencepiece\"\n#define PACKAGE_STRING \"sentencepiece\"\n";

/// Sources of gemma.cpp, highway and sentencepiece, and where objects and probes go.
#[derive(Clone, Debug)]
pub struct GemmaCheckout {
    source: PathBuf,
    highway: PathBuf,
    sentencepiece: PathBuf,
    objects: PathBuf,
}

/// How the reference is to run a model.
#[derive(Clone, Copy, Debug)]
pub struct RunOptions {
    /// Threads.
    pub threads: usize,
    /// Ids read as one batch, of which the last one's logits are the first.
    pub prompt: usize,
    /// How many of those see each other.
    pub prefix: usize,
    /// Queries at once, each the ids rotated by its number.
    pub queries: usize,
    /// Ids in a turn; 0: all are one turn. Of turns the last position's logits are given.
    pub turn: usize,
    /// Places of the cache; 0: enough for all ids.
    pub seq_len: usize,
}

impl Default for RunOptions {
    fn default() -> RunOptions {
        RunOptions { threads: 1, prompt: 1, prefix: 0, queries: 1, turn: 0, seq_len: 0 }
    }
}

impl GemmaCheckout {
    /// Finds gemma.cpp in `source`, and highway and sentencepiece beside it or where its own build has fetched them.
    ///
    /// # Errors
    /// One of them is not there.
    pub fn locate(source: &Path, objects: &Path) -> Result<GemmaCheckout, Error> {
        let missing = |path: PathBuf, found: &str, expected| {
            Err(Error::Checkout { path, found: found.to_owned(), expected })
        };
        if !source.join("gemma/gemma.h").is_file() {
            return missing(source.to_owned(), "no gemma/gemma.h", "a gemma.cpp checkout");
        }
        let beside = |name: &str, file: &str| {
            let fetched =
                ["build", "out"].map(|build| source.join(build).join("_deps").join(format!("{name}-src")));
            let places = [source.join("..").join(name), source.join("third_party").join(name)];
            places.into_iter().chain(fetched).find(|dir| dir.join(file).is_file())
        };
        let Some(highway) = beside("highway", "hwy/highway.h") else {
            return missing(source.to_owned(), "no highway", "highway beside it, or in build/_deps");
        };
        let Some(sentencepiece) = beside("sentencepiece", "src/sentencepiece_processor.h") else {
            return missing(
                source.to_owned(),
                "no sentencepiece",
                "sentencepiece beside it, or in build/_deps",
            );
        };
        Ok(GemmaCheckout { source: source.to_owned(), highway, sentencepiece, objects: objects.to_owned() })
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

    /// Compiles what is not compiled yet, and `parity/probes/NAME.cpp`, and returns the program.
    ///
    /// # Errors
    /// The compiler's message.
    pub fn probe(&self, name: &str) -> Result<PathBuf, Error> {
        let binary = self.objects.join(name);
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("probes").join(format!("{name}.cpp"));
        if is_newer(&binary, &source) {
            return Ok(binary);
        }
        let mut objects = self.common_objects()?;
        let object = self.objects.join(format!("{name}.o"));
        self.compile(&source, &object, &self.flags())?;
        objects.push(object);
        run(compiler().arg("-pthread").arg("-o").arg(&binary).args(&objects))?;
        Ok(binary)
    }

    /// The objects of everything but the probes.
    fn common_objects(&self) -> Result<Vec<PathBuf>, Error> {
        let flags = self.flags();
        let mut objects = Vec::new();
        for name in GEMMA {
            objects.push(self.object("g", &self.source, name, &flags)?);
        }
        for name in HIGHWAY {
            objects.push(self.object("hwy", &self.highway.join("hwy"), name, &flags)?);
        }
        let include = self.objects.join("inc");
        std::fs::create_dir_all(&include).map_err(Error::io(&include))?;
        let config = include.join("config.h");
        if !config.is_file() {
            std::fs::write(&config, CONFIG_H).map_err(Error::io(&config))?;
        }
        let flags = self.sentencepiece_flags(&include);
        let lite = self.sentencepiece.join("third_party/protobuf-lite");
        let mut names: Vec<String> = std::fs::read_dir(&lite)
            .map_err(Error::io(&lite))?
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".cc").map(str::to_owned))
            .collect();
        names.sort();
        for name in names {
            objects.push(self.object("pb", &lite, &name, &flags)?);
        }
        for name in SENTENCEPIECE {
            objects.push(self.object("spm", &self.sentencepiece.join("src"), name, &flags)?);
        }
        let absl = self.sentencepiece.join("third_party/absl/flags");
        objects.push(self.object("absl", &absl, "flag", &flags)?);
        Ok(objects)
    }

    fn object(&self, folder: &str, root: &Path, name: &str, flags: &[OsString]) -> Result<PathBuf, Error> {
        let source = root.join(format!("{name}.cc"));
        let object = self.objects.join(folder).join(format!("{name}.o"));
        if !is_newer(&object, &source) {
            self.compile(&source, &object, flags)?;
        }
        Ok(object)
    }

    fn compile(&self, source: &Path, object: &Path, flags: &[OsString]) -> Result<(), Error> {
        let folder = object.parent().unwrap_or(&self.objects);
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        run(compiler().args(flags).arg("-c").arg(source).arg("-o").arg(object))?;
        Ok(())
    }

    fn flags(&self) -> Vec<OsString> {
        let mut flags: Vec<OsString> =
            ["-std=c++17", "-O2", "-w", "-pthread", "-DNDEBUG"].map(OsString::from).into();
        flags.extend(["-DHWY_COMPILE_ONLY_STATIC", "-DGEMMA_ENABLE_NUQ=1"].map(OsString::from));
        if cfg!(target_arch = "x86_64") {
            flags.push("-march=haswell".into());
        }
        for dir in [&self.source, &self.highway, &self.sentencepiece] {
            flags.push("-I".into());
            flags.push(dir.into());
        }
        flags
    }

    fn sentencepiece_flags(&self, include: &Path) -> Vec<OsString> {
        let mut flags: Vec<OsString> = ["-std=c++17", "-O1", "-w", "-pthread"].map(OsString::from).into();
        flags.extend(["-DHAVE_PTHREAD=1", "-D_USE_INTERNAL_STRING_VIEW"].map(OsString::from));
        let own = ["", "src", "src/builtin_pb", "third_party", "third_party/protobuf-lite"];
        let own = own.map(|dir| self.sentencepiece.join(dir));
        for dir in std::iter::once(include.to_owned()).chain(own) {
            flags.push("-I".into());
            flags.push(dir.into());
        }
        flags
    }

    /// Teacher-forced logits of a `.sbs` file, as `gemma_run.cpp` orders them.
    ///
    /// # Errors
    /// The probe failed.
    pub fn logits(&self, file: &Path, tokens: &[u32], options: RunOptions) -> Result<Vec<f32>, Error> {
        let dir = tempfile::tempdir().map_err(Error::io("temporary folder"))?;
        let (ids, out) = (dir.path().join("ids"), dir.path().join("out"));
        write_ids(&ids, tokens)?;
        let mut probe = Command::new(self.probe("gemma_run")?);
        probe.arg("logits").arg(file).arg(&ids).arg(&out);
        let RunOptions { threads, prompt, prefix, queries, turn, seq_len } = options;
        let given = [("threads", threads), ("prompt", prompt), ("prefix", prefix), ("queries", queries)];
        for (name, value) in given.into_iter().chain([("turn", turn), ("seq_len", seq_len)]) {
            if value > 0 {
                probe.arg(format!("{name}={value}"));
            }
        }
        run(&mut probe)?;
        Ok(floats(&std::fs::read(&out).map_err(Error::io(&out))?))
    }

    /// The ids that follow others by the largest logit.
    ///
    /// # Errors
    /// The probe failed or printed something else.
    pub fn greedy(&self, file: &Path, tokens: &[u32], count: usize) -> Result<Vec<u32>, Error> {
        let dir = tempfile::tempdir().map_err(Error::io("temporary folder"))?;
        let ids = dir.path().join("ids");
        write_ids(&ids, tokens)?;
        let mut probe = Command::new(self.probe("gemma_run")?);
        let said = run(probe.arg("greedy").arg(file).arg(&ids).arg(count.to_string()))?;
        let said: Result<Vec<u32>, _> = said.split_whitespace().map(str::parse).collect();
        said.map_err(|error| Error::Program { program: "gemma_run".to_owned(), message: error.to_string() })
    }
}

fn write_ids(path: &Path, tokens: &[u32]) -> Result<(), Error> {
    let words: Vec<String> = tokens.iter().map(u32::to_string).collect();
    std::fs::write(path, words.join(" ")).map_err(Error::io(path))
}

fn compiler() -> Command {
    Command::new(std::env::var_os("CXX").unwrap_or_else(|| "c++".into()))
}

/// Whether `made` is there and not older than `source`.
fn is_newer(made: &Path, source: &Path) -> bool {
    let modified = |path: &Path| path.metadata().and_then(|m| m.modified()).ok();
    modified(made).is_some_and(|at| Some(at) >= modified(source))
}
